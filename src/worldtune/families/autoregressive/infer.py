"""Configurations for checkpoints that do not bring ours, from the shapes of NVIDIA's tensors."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.presets import PRESETS


def config_from_shapes(path: Path, tensors: Mapping[str, Tensor]) -> NetworkConfig:
    """Infer a network from its tensors under our names.

    Positions, YaRN and grid leave no trace there: a preset of that size has them. ValueError when an essential tensor
    is missing or no preset is of that size.
    """

    def shape(key: str) -> tuple[int, ...]:
        if key not in tensors:
            raise ValueError(f"{path}: not a Cosmos autoregressive checkpoint, our tensor {key} has no counterpart")
        return tuple(tensors[key].shape)

    rows, width = shape("embed.weight")
    num_layers = len({key.split(".")[1] for key in tensors if key.startswith("blocks.")})
    cross_layers = sorted({int(key.split(".")[1]) for key in tensors if ".cross." in key})
    head_dim = shape("blocks.0.self_attention.norm_q.weight")[0]
    alike = _preset_alike(path, width, num_layers, bool(cross_layers))
    vocab_size = shape("output.weight")[0]
    return replace(
        alike,
        num_heads=shape("blocks.0.self_attention.to_q.weight")[0] // head_dim,
        num_kv_heads=shape("blocks.0.self_attention.to_k.weight")[0] // head_dim,
        head_dim=head_dim,
        mlp_width=shape("blocks.0.mlp.up.weight")[0],
        vocab_size=vocab_size,
        begin_token=rows > vocab_size,
        text_channels=shape("blocks.0.cross.attention.to_k.weight")[1] if cross_layers else alike.text_channels,
    )


def _preset_alike(path: Path, width: int, num_layers: int, reads_text: bool) -> NetworkConfig:
    for preset in PRESETS.values():
        if (preset.width, preset.num_layers, preset.cross_attention_every > 0) == (width, num_layers, reads_text):
            return preset
    text = "with" if reads_text else "without"
    raise ValueError(
        f"{path}: no released model has width {width} and {num_layers} layers {text} text, so its positions are "
        "unknown; put a worldtune.json beside it"
    )
