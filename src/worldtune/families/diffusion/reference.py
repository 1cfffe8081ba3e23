"""Reference cases: the network is built from a case's own hyper-parameters and must reproduce its output.

A case is a safetensors file with NVIDIA-named weights (`state_dict.*`), inputs (`in.*`), the output (`out`) and the
hyper-parameters as JSON under `config` in its metadata.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels, L text rows.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from worldtune.contract.condition import Widths
from worldtune.contract.nouns import Coverage
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.naming import ROPE_SEQUENCE, ours_from_nvidia
from worldtune.families.diffusion.network import GeneralDIT

LIMIT = 2e-5
"""Largest error allowed, relative to the output's largest value, in float32."""

DEFAULTS: dict[str, Any] = {
    "concat_padding_mask": True,
    "block_config": "FA-CA-MLP",
    "num_blocks": 10,
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "crossattn_emb_channels": 1024,
    "pos_emb_cls": "sincos",
    "affline_emb_norm": False,
    "use_adaln_lora": False,
    "adaln_lora_dim": 256,
    "extra_per_block_abs_pos_emb": False,
    **{f"{kind}_{axis}_extrapolation_ratio": 1.0 for kind in ("rope", "extra") for axis in "hwt"},
}
"""What NVIDIA's class takes where a case's config is silent (facts: GeneralDIT, 1)."""

SUPPORTED = {
    "patch_temporal": 1,
    "block_config": "FA-CA-MLP",
    "pos_emb_cls": "rope3d",
    "affline_emb_norm": True,
    "use_adaln_lora": True,
}
"""Options that the network has with one value only: no released model uses another."""


def read_case(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Hyper-parameters and tensors of a case."""
    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {})["config"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def config_from_nvidia(value: dict[str, Any], tensors: dict[str, Tensor]) -> NetworkConfig:
    """NVIDIA's constructor arguments in our words. Shapes decide what the arguments leave open: which class it was.

    ValueError for a variant that no released model uses.
    """
    value = DEFAULTS | value
    for name, only in SUPPORTED.items():
        if value[name] != only:
            raise ValueError(f"not supported: {name} must be {only!r}, got {value[name]!r}")
    patch = value["patch_spatial"]
    num_views, view_channels = tensors.get("net.view_embeddings.weight", torch.empty(0, 0)).shape
    trajectory_channels, trajectory_numbers = tensors.get("net.traj_embeddings.weight", torch.empty(0, 0)).shape
    config = NetworkConfig(
        width=value["model_channels"],
        num_blocks=value["num_blocks"],
        num_heads=value["num_heads"],
        latent_channels=value["out_channels"],
        mlp_ratio=value["mlp_ratio"],
        text_channels=value["crossattn_emb_channels"],
        adaln_rank=value["adaln_lora_dim"],
        patch_spatial=patch,
        max_height=value["max_img_h"] // patch * patch,
        max_width=value["max_img_w"] // patch * patch,
        max_frames=value["max_frames"],
        rope_ratio_h=value["rope_h_extrapolation_ratio"],
        rope_ratio_w=value["rope_w_extrapolation_ratio"],
        rope_ratio_t=value["rope_t_extrapolation_ratio"],
        positions=_positions(value, tensors),
        padding_mask=value["concat_padding_mask"],
        num_views=num_views,
        view_channels=view_channels,
        frame_repeat="net.repeat_frame_embedding.weight" in tensors,
        trajectory_numbers=trajectory_numbers,
        trajectory_channels=trajectory_channels,
    )
    masks = tensors["net.x_embedder.proj.1.weight"].shape[1] // patch**2 - config.input_channels
    if masks not in (0, 1):
        raise ValueError(
            f"not supported: latent channels that go in must be out_channels {config.latent_channels}, "
            f"got {config.latent_channels + masks}"
        )
    return replace(config, condition_mask=masks == 1)


def _positions(value: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """The extra position embedding: multi-view classes have the fixed one, whatever the arguments say."""
    if not value["extra_per_block_abs_pos_emb"]:
        return "none"
    if "net.extra_pos_embedder.pos_emb_t" in tensors:
        return "learnable"
    for name in (f"extra_{axis}_extrapolation_ratio" for axis in "hwt"):
        if value[name] != 1:
            raise ValueError(f"not supported: {name} must be 1.0, got {value[name]!r}")
    return "sincos"


def load_case(path: Path) -> tuple[GeneralDIT, dict[str, Tensor], int]:
    """The network of a case with its weights, its inputs and output under NVIDIA's names, and the number of views."""
    value, tensors = read_case(path)
    weights = {
        key.removeprefix("state_dict."): tensor for key, tensor in tensors.items() if key.startswith("state_dict.")
    }
    network = GeneralDIT(config_from_nvidia(value, weights), Widths())
    renamed = {ours_from_nvidia(key) or key: tensor for key, tensor in weights.items() if key != ROPE_SEQUENCE}
    renamed = {key.removeprefix("net."): tensor for key, tensor in renamed.items()}
    Coverage.of(network.state_dict(), renamed).require_complete(str(path))
    network.load_state_dict(renamed)
    others = {key: tensor for key, tensor in tensors.items() if not key.startswith("state_dict.")}
    return network.eval(), others, network.config.num_views or 1


def run_case(network: GeneralDIT, case: dict[str, Tensor], views: int) -> Tensor:
    """The network's output in NVIDIA's layout, [B, C, V T, H, W]. Inputs that it was not built for have no effect."""
    config = network.config
    mask = case["in.condition_video_input_mask"] if config.condition_mask else None
    padding = case["in.padding_mask"] if config.padding_mask else None
    with torch.no_grad():
        out_BVTHWC = network(
            case["in.x"].unflatten(2, (views, -1)).permute(0, 2, 3, 4, 5, 1),
            case["in.timesteps"].flatten(),
            text_BVLD=case["in.crossattn_emb"].unflatten(1, (views, -1)),
            fps_hz_B=case.get("in.fps"),
            condition_mask_BVTHW=None if mask is None else mask[:, 0].unflatten(1, (views, -1)),
            padding_mask_BHW=None if padding is None else padding[:, 0],
            frame_repeat_BV=case.get("in.frame_repeat") if config.frame_repeat else None,
            trajectory_BK=case["in.trajectory"] if config.trajectory_numbers else None,
        )
    return out_BVTHWC.permute(0, 5, 1, 2, 3, 4).flatten(2, 3)


def check_dit_case(path: Path) -> tuple[float, float]:
    """(largest error relative to the output's largest value, limit) of one reference case."""
    network, case, views = load_case(path)
    wanted = case["out"]
    error = (run_case(network, case, views) - wanted).abs().max() / wanted.abs().max()
    return error.item(), LIMIT
