"""Configurations for checkpoints that do not bring ours: from NVIDIA's shapes, or from diffusers' config.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldtune.contract.condition import Widths
from worldtune.contract.files import read_json
from worldtune.families.diffusion.config import NetworkConfig, from_json
from worldtune.families.diffusion.presets import PRESETS

_PATCH = 2
"""Every released model has it; shapes alone cannot tell it from the number of latent channels."""


_BASE_FPS_HZ = 24.0


def config_from_shapes(path: Path, raw: Mapping[str, Any]) -> tuple[NetworkConfig, Widths]:
    """Infer an NVIDIA network from its tensors. The rotary ratios leave no trace there: a preset of that size has them.

    ValueError when an essential tensor is missing or no preset is of that size.
    """

    def shape(key: str) -> tuple[int, ...]:
        if key not in raw:
            raise ValueError(f"{path}: not a Cosmos diffusion checkpoint, {key} is missing")
        return tuple(raw[key].shape)

    def rows(key: str, absent: int) -> int:
        return int(raw[key].shape[0]) if key in raw else absent

    block = "net.blocks.block0.blocks."
    width = shape("net.affline_norm.weight")[0]
    num_blocks = len({key.split(".")[2] for key in raw if key.startswith("net.blocks.block")})
    num_heads = width // shape(f"{block}0.block.attn.to_q.1.weight")[0]
    views, view_channels = shape("net.view_embeddings.weight") if "net.view_embeddings.weight" in raw else (0, 0)
    trajectory = shape("net.traj_embeddings.weight") if "net.traj_embeddings.weight" in raw else (0, 0)
    tokens = shape("net.token_embedder.weight") if "net.token_embedder.weight" in raw else (0, 0)
    latent_channels = shape("net.final_layer.linear.weight")[0] // _PATCH**2
    learnable = "net.extra_pos_embedder.pos_emb_t" in raw
    alike = _preset_alike(path, width, num_blocks, bool(views), bool(tokens[0]))
    explained = latent_channels + 1 + view_channels + trajectory[0] + tokens[1]
    surplus = shape("net.x_embedder.proj.1.weight")[1] // _PATCH**2 - explained
    config = NetworkConfig(
        width=width,
        num_blocks=num_blocks,
        num_heads=num_heads,
        latent_channels=latent_channels,
        mlp_ratio=shape(f"{block}2.block.layer1.weight")[0] / width,
        text_channels=shape(f"{block}1.block.attn.to_k.0.weight")[1],
        adaln_rank=shape(f"{block}0.adaLN_modulation.1.weight")[0],
        patch_spatial=_PATCH,
        max_height=rows("net.extra_pos_embedder.pos_emb_h", alike.max_height // _PATCH) * _PATCH,
        max_width=rows("net.extra_pos_embedder.pos_emb_w", alike.max_width // _PATCH) * _PATCH,
        max_frames=rows("net.extra_pos_embedder.pos_emb_t", alike.max_frames),
        rope_ratio_h=alike.rope_ratio_h,
        rope_ratio_w=alike.rope_ratio_w,
        rope_ratio_t=alike.rope_ratio_t,
        positions="learnable" if learnable else alike.positions,
        condition_mask=surplus > 0,
        num_views=views,
        view_channels=view_channels,
        frame_repeat="net.repeat_frame_embedding.weight" in raw,
        trajectory_numbers=trajectory[1],
        trajectory_channels=trajectory[0],
        num_tokens=tokens[0],
        token_channels=tokens[1],
    )
    return config, Widths(dense=max(surplus - 1, 0))


def _preset_alike(path: Path, width: int, num_blocks: int, multiview: bool, tokens: bool) -> NetworkConfig:
    wanted = (width, num_blocks, multiview, tokens)
    for preset in PRESETS.values():
        if (preset.width, preset.num_blocks, bool(preset.num_views), bool(preset.num_tokens)) == wanted:
            return preset
    views = ("several views" if multiview else "one view") + (" and token channels" if tokens else "")
    raise ValueError(
        f"{path}: no released model has width {width}, {num_blocks} blocks and {views}, so its rotary ratios are "
        "unknown; put a worldtune.json beside it"
    )


def config_from_diffusers(path: Path) -> tuple[NetworkConfig, Widths]:
    """From a `CosmosTransformer3DModel` config.json. ValueError for another class or a Cosmos-2 feature."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("_class_name") != "CosmosTransformer3DModel":
        raise ValueError(f"{path}: not the configuration of a CosmosTransformer3DModel")
    for key in ("use_crossattn_projection", "controlnet_block_every_n", "img_context_dim_in"):
        if value.get(key):
            raise ValueError(f"{path}: {key} = {value[key]} belongs to Cosmos-2, which is not supported")
    try:
        frames, height, width = value["max_size"]
        ratio_t, ratio_h, ratio_w = value["rope_scale"]
        patch_t, patch, patch_w = value["patch_size"]
        surplus = value["in_channels"] - value["out_channels"]
        settings = {
            "width": value["num_attention_heads"] * value["attention_head_dim"],
            "num_blocks": value["num_layers"],
            "num_heads": value["num_attention_heads"],
            "latent_channels": value["out_channels"],
            "mlp_ratio": value["mlp_ratio"],
            "text_channels": value["text_embed_dim"],
            "adaln_rank": value["adaln_lora_dim"],
            "patch_spatial": patch,
            "max_height": height,
            "max_width": width,
            "max_frames": frames,
            "rope_ratio_h": ratio_h,
            "rope_ratio_w": ratio_w,
            "rope_ratio_t": ratio_t,
            "positions": value["extra_pos_embed_type"] or "none",
            "condition_mask": surplus > 0,
            "padding_mask": value["concat_padding_mask"],
        }
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if patch_t != 1 or patch != patch_w:
        raise ValueError(f"{path}: patch_size must be [1, p, p], got {value['patch_size']}")
    return from_json(NetworkConfig, settings, path), Widths(dense=max(surplus - 1, 0))


def diffusers_config(config: NetworkConfig, dense_channels: int) -> dict[str, Any]:
    """The config.json that `CosmosTransformer3DModel` reads. ValueError for what that class does not have."""
    absent: dict[str, bool | int] = {"view channels": config.num_views, "a trajectory": config.trajectory_numbers}
    absent["token channels"] = config.num_tokens
    absent["sin-cos positions"] = config.positions == "sincos"
    absent[f"base frame rate but {_BASE_FPS_HZ}"] = config.base_fps_hz != _BASE_FPS_HZ
    for feature, present in absent.items():
        if present:
            raise ValueError(f"diffusers' CosmosTransformer3DModel has no {feature}; export this network as nvidia")
    return _in_diffusers_words(config, dense_channels)


def require_agreement(path: Path, described: Path, config: NetworkConfig, dense_channels: int) -> None:
    """Two files describe one network. ValueError naming both and the first key of config.json in which they differ."""
    value = read_json(path)
    for key, ours in _in_diffusers_words(config, dense_channels).items():
        if value[key] != ours:
            raise ValueError(
                f"{path}: {key} is {value[key]!r}, but {described} beside it describes a network where it is {ours!r}; "
                f"change it back, or delete {described.name} to use what config.json says"
            )


def _in_diffusers_words(config: NetworkConfig, dense_channels: int) -> dict[str, Any]:
    return {
        "_class_name": "CosmosTransformer3DModel",
        "in_channels": config.latent_channels + int(config.condition_mask) + dense_channels,
        "out_channels": config.latent_channels,
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.head_dim,
        "num_layers": config.num_blocks,
        "mlp_ratio": config.mlp_ratio,
        "text_embed_dim": config.text_channels,
        "adaln_lora_dim": config.adaln_rank,
        "max_size": [config.max_frames, config.max_height, config.max_width],
        "patch_size": [1, config.patch_spatial, config.patch_spatial],
        "rope_scale": [config.rope_ratio_t, config.rope_ratio_h, config.rope_ratio_w],
        "concat_padding_mask": config.padding_mask,
        "extra_pos_embed_type": "learnable" if config.positions == "learnable" else None,
    }
