"""Reference cases: the network is built from a case's own hyper-parameters and must reproduce its output.

A case is a safetensors file with NVIDIA-named weights (`state_dict.*`), inputs (`in.*`), the output (`out`) and the
hyper-parameters as JSON under `config` in its metadata.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels, L text rows.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from worldtune.contract.condition import Widths
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.naming import ROPE_SEQUENCE, ours_from_nvidia
from worldtune.families.diffusion.network import GeneralDIT

LIMIT = 2e-5
"""Largest error allowed, relative to the output's largest value, in float32."""


def read_case(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Hyper-parameters and tensors of a case."""
    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {})["config"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def config_from_nvidia(value: dict[str, Any], tensors: dict[str, Tensor]) -> NetworkConfig:
    """NVIDIA's constructor arguments in our words. Shapes decide what the arguments leave open (the mask channel)."""
    if value["patch_temporal"] != 1 or not value["use_adaln_lora"] or value["block_config"] != "FA-CA-MLP":
        raise ValueError(f"only patch_temporal 1 with AdaLN-LoRA in FA-CA-MLP blocks is supported, got {value}")
    patch = value["patch_spatial"]
    learned_views = value["n_views"] if value.get("concat_view_embedding") else 0
    trajectory = tensors.get("net.traj_embeddings.weight", torch.empty(0, 0))
    view_channels = value["view_condition_dim"] if learned_views else 0
    explained = value["out_channels"] + int(value["concat_padding_mask"]) + view_channels + trajectory.shape[0]
    return NetworkConfig(
        width=value["model_channels"],
        num_blocks=value["num_blocks"],
        num_heads=value["num_heads"],
        latent_channels=value["out_channels"],
        mlp_ratio=value["mlp_ratio"],
        text_channels=value["crossattn_emb_channels"],
        adaln_rank=value["adaln_lora_dim"],
        patch_spatial=patch,
        max_height=value["max_img_h"],
        max_width=value["max_img_w"],
        max_frames=value["max_frames"],
        rope_ratio_h=value["rope_h_extrapolation_ratio"],
        rope_ratio_w=value["rope_w_extrapolation_ratio"],
        rope_ratio_t=value["rope_t_extrapolation_ratio"],
        positions=value["extra_per_block_abs_pos_emb_type"] if value["extra_per_block_abs_pos_emb"] else "none",
        condition_mask=tensors["net.x_embedder.proj.1.weight"].shape[1] // patch**2 > explained,
        padding_mask=value["concat_padding_mask"],
        num_views=learned_views,
        view_channels=view_channels,
        frame_repeat="net.repeat_frame_embedding.weight" in tensors,
        trajectory_numbers=trajectory.shape[1],
        trajectory_channels=trajectory.shape[0],
    )


def load_case(path: Path) -> tuple[GeneralDIT, dict[str, Tensor], int]:
    """The network of a case with its weights, its inputs and output under NVIDIA's names, and the number of views."""
    value, tensors = read_case(path)
    weights = {
        key.removeprefix("state_dict."): tensor for key, tensor in tensors.items() if key.startswith("state_dict.")
    }
    network = GeneralDIT(config_from_nvidia(value, weights), Widths())
    renamed = {ours_from_nvidia(key): tensor for key, tensor in weights.items() if key != ROPE_SEQUENCE}
    network.load_state_dict({str(key).removeprefix("net."): tensor for key, tensor in renamed.items()})
    others = {key: tensor for key, tensor in tensors.items() if not key.startswith("state_dict.")}
    return network.eval(), others, value.get("n_views", 1)


def run_case(network: GeneralDIT, case: dict[str, Tensor], views: int) -> Tensor:
    """The network's output in NVIDIA's layout, [B, C, V T, H, W]."""
    mask = case.get("in.condition_video_input_mask")
    padding = case.get("in.padding_mask")
    with torch.no_grad():
        out_BVTHWC = network(
            case["in.x"].unflatten(2, (views, -1)).permute(0, 2, 3, 4, 5, 1),
            case["in.timesteps"],
            text_BVLD=case["in.crossattn_emb"].unflatten(1, (views, -1)),
            fps_hz_B=case.get("in.fps"),
            condition_mask_BVTHW=None if mask is None else mask[:, 0].unflatten(1, (views, -1)),
            padding_mask_BHW=None if padding is None else padding[:, 0],
            frame_repeat_BV=case.get("in.frame_repeat"),
            trajectory_BK=case.get("in.trajectory"),
        )
    return out_BVTHWC.permute(0, 5, 1, 2, 3, 4).flatten(2, 3)


def check_dit_case(path: Path) -> tuple[float, float]:
    """(largest error relative to the output's largest value, limit) of one reference case."""
    network, case, views = load_case(path)
    wanted = case["out"]
    error = (run_case(network, case, views) - wanted).abs().max() / wanted.abs().max()
    return error.item(), LIMIT
