"""diffusers' folder of a continuous tokenizer, `AutoencoderKLCosmos`: key names, configuration and statistics.

Shape legend: T latent frames, C latent channels.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldtune.contract.files import read_json, write_json, write_whole
from worldtune.networks.causal_video.autoencoder import Autoencoder
from worldtune.networks.causal_video.checkpoint import Checkpoint, Statistics
from worldtune.networks.causal_video.config import TokenizerConfig
from worldtune.networks.causal_video.weights import read_safetensors, write_safetensors

CLASS_NAME = "AutoencoderKLCosmos"
_WEIGHTS = "diffusion_pytorch_model.safetensors"

# In this order: what attention and convolutions are called is decided before "conv3d" is dropped.
_RENAMES = (
    (r"\.down\.(\d+)\.", r".down_blocks.\1."),
    (r"\.block\.(\d+)\.", r".resnets.\1."),
    (r"\.attn\.(\d+)\.0\.", r".attentions.\1."),
    (r"\.attn\.(\d+)\.1\.", r".temp_attentions.\1."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.0\.", ".mid_block.attentions.0."),
    (r"\.mid\.attn_1\.1\.", ".mid_block.temp_attentions.0."),
    (r"\.(down|up)sample\.", r".\1samplers.0."),
    (r"\.([qkv])\.conv3d\.", r".to_\1."),
    (r"\.proj_out\.conv3d\.", ".to_out.0."),
    (r"\.0\.conv3d\.", ".conv_s."),
    (r"\.1\.conv3d\.", ".conv_t."),
    (r"\.nin_shortcut\.conv3d\.", ".conv_shortcut."),
    (r"\.conv3d\.", "."),
)


def diffusers_name(name: str, num_levels: int) -> str:
    """NVIDIA's name of a parameter -> diffusers'."""
    # diffusers numbers decoder levels in the order they run, NVIDIA from the finest.
    name = re.sub(r"\.up\.(\d+)\.", lambda match: f".up_blocks.{num_levels - 1 - int(match[1])}.", name)
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read_folder(folder: Path) -> Checkpoint:
    """A folder with `config.json` and one safetensors file, as `AutoencoderKLCosmos.save_pretrained` writes it."""
    source = str(folder / "config.json")
    values = read_json(folder / "config.json")
    try:
        config = _config(values, source)
        statistics = _statistics(values, config.latent_channels, source)
    except KeyError as error:
        raise ValueError(f"{source}: no key {error}") from None
    found = read_safetensors(folder / _WEIGHTS)
    with torch.device("meta"):
        wanted = Autoencoder(config).state_dict()
    ours = {diffusers_name(name, config.num_levels): name for name in wanted}
    return Checkpoint(
        config=config,
        tensors={ours.get(name, name): tensor for name, tensor in found.items()},
        source=str(folder / _WEIGHTS),
        statistics=statistics,
    )


def write_folder(checkpoint: Checkpoint, folder: Path) -> None:
    """Write what diffusers loads. ValueError for a tokenizer that diffusers' class cannot express."""
    values = _values(checkpoint)
    num_levels = checkpoint.config.num_levels
    renamed = {diffusers_name(name, num_levels): tensor for name, tensor in checkpoint.tensors.items()}
    with write_whole(folder) as temporary:
        temporary.mkdir()
        write_safetensors(renamed, temporary / _WEIGHTS)
        write_json(temporary / "config.json", values)


def _config(values: dict[str, Any], source: str) -> TokenizerConfig:
    first, *widths = values["encoder_block_out_channels"]
    expected = [*widths, widths[-1]]
    if list(values["decode_block_out_channels"]) != expected or any(width % first for width in widths):
        raise ValueError(
            f"{source}: decode_block_out_channels must be {expected}, the encoder's levels with the last twice, "
            f"and all multiples of {first}, got {values['decode_block_out_channels']}"
        )
    return TokenizerConfig(
        in_channels=values["in_channels"],
        out_channels=values["out_channels"],
        channels=first,
        channels_mult=tuple(width // first for width in widths),
        num_res_blocks=values["num_layers"],
        attn_resolutions=tuple(values["attention_resolutions"]),
        resolution=values["resolution"],
        patch_size=values["patch_size"],
        patch_method=values["patch_type"],
        z_channels=values["latent_channels"],
        latent_channels=values["latent_channels"],
        spatial_compression=values["spatial_compression_ratio"],
        temporal_compression=values["temporal_compression_ratio"],
    )


def _statistics(values: dict[str, Any], num_channels: int, source: str) -> Statistics | None:
    if values["latents_mean"] is None or values["latents_std"] is None:
        return None
    try:
        mean_TC, std_TC = (torch.tensor(values[f"latents_{x}"]).reshape(num_channels, -1).T for x in ("mean", "std"))
        return Statistics(mean_TC=mean_TC, std_TC=std_TC)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{source}: latents_mean and latents_std do not fit: {error}") from None


def _values(checkpoint: Checkpoint) -> dict[str, Any]:
    config, statistics = checkpoint.config, checkpoint.statistics
    if config.legacy_mode or config.z_channels != config.latent_channels or config.dropout or checkpoint.levels:
        raise ValueError(
            f"{checkpoint.source}: {CLASS_NAME} has no legacy_mode, dropout or quantiser, and its z_channels equal its "
            "latent_channels; export to nvidia instead"
        )
    widths = [config.channels * multiple for multiple in config.channels_mult]
    return {
        "_class_name": CLASS_NAME,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "latent_channels": config.latent_channels,
        "encoder_block_out_channels": [config.channels, *widths],
        "decode_block_out_channels": [*widths, widths[-1]],
        "attention_resolutions": list(config.attn_resolutions),
        "resolution": config.resolution,
        "num_layers": config.num_res_blocks,
        "patch_size": config.patch_size,
        "patch_type": config.patch_method,
        "scaling_factor": 1.0,
        "spatial_compression_ratio": config.spatial_compression,
        "temporal_compression_ratio": config.temporal_compression,
        "latents_mean": None if statistics is None else _flat(statistics.mean_TC),
        "latents_std": None if statistics is None else _flat(statistics.std_TC),
    }


def _flat(x_TC: Tensor) -> list[float]:
    return x_TC.T.flatten().tolist()
