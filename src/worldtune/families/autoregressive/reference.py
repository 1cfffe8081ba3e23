"""Reference cases: the network is built from a case's own hyper-parameters and must reproduce its output.

A case is a safetensors file with NVIDIA-named weights (`state_dict.*`), inputs (`in.*`), the logits (`out`) and the
hyper-parameters as JSON under `config` in its metadata.

Shape legend: B batch, N tokens, L text rows, C channels, X vocabulary.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from worldtune.contract.condition import Widths
from worldtune.contract.nouns import Coverage
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.naming import ours_from_nvidia
from worldtune.families.autoregressive.network import VideoTransformer

LIMIT = 2e-5
"""Largest error allowed, relative to the output's largest value, in float32."""

DEFAULTS: dict[str, Any] = {
    "n_kv_heads": 8,
    "head_dim": None,
    "norm_type": "rmsnorm",
    "norm_eps": 1e-5,
    "rope_theta": 500000,
    "rope_dim": "1D",
    "pytorch_rope_version": "v2",
    "use_qk_normalization": False,
    "apply_abs_pos_emb": False,
    "apply_yarn": False,
    "insert_cross_attn": False,
    "insert_cross_attn_every_k_layers": 1,
    "context_dim": 1024,
}
"""What NVIDIA's network takes where a case's config is silent (facts: Cosmos AR, 1)."""

SUPPORTED = {"norm_type": "rmsnorm", "rope_dim": "3D", "pytorch_rope_version": "v2"}
"""Options that the network has with one value only: no released model uses another."""


def read_case(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Hyper-parameters and tensors of a case."""
    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {})["config"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def config_from_nvidia(value: dict[str, Any]) -> NetworkConfig:
    """NVIDIA's constructor arguments in our words. ValueError for a variant that no released model uses."""
    value = DEFAULTS | value
    for name, only in SUPPORTED.items():
        if value[name] != only:
            raise ValueError(f"not supported: {name} must be {only!r}, got {value[name]!r}")
    frames, height, width = value["video_latent_shape"]
    yarn: dict[str, Any] = {}
    if value["apply_yarn"]:
        yarn = {
            "yarn_scale": float(value["yarn_scale"]),
            "yarn_frames": value["original_latent_shape"][0],
            "yarn_side": value["original_latent_shape"][1],
            "yarn_beta_fast": float(value["yarn_beta_fast"]),
            "yarn_beta_slow": float(value["yarn_beta_slow"]),
        }
    return NetworkConfig(
        width=value["dim"],
        num_layers=value["n_layers"],
        num_heads=value["n_heads"],
        num_kv_heads=value["n_kv_heads"] or value["n_heads"],
        head_dim=value["head_dim"] or value["dim"] // value["n_heads"],
        mlp_width=value["ffn_hidden_size"],
        vocab_size=value["vocab_size"],
        max_frames=frames,
        max_height=height,
        max_width=width,
        cross_attention_every=value["insert_cross_attn_every_k_layers"] if value["insert_cross_attn"] else 0,
        text_channels=value["context_dim"],
        absolute_positions=value["apply_abs_pos_emb"],
        qk_norm=value["use_qk_normalization"],
        norm_eps=float(value["norm_eps"]),
        rope_theta=float(value["rope_theta"]),
        **yarn,
    )


def load_case(path: Path) -> tuple[VideoTransformer, dict[str, Tensor]]:
    """The network of a case with its weights, and its inputs and output."""
    value, tensors = read_case(path)
    network = VideoTransformer(config_from_nvidia(value), Widths())
    state = {key.removeprefix("state_dict."): tensors[key] for key in tensors if key.startswith("state_dict.")}
    renamed = {ours_from_nvidia(key) or key: tensor for key, tensor in state.items()}
    Coverage.of(network.state_dict(), renamed).require_complete(str(path))
    network.load_state_dict(renamed)
    return network.eval(), {key: tensor for key, tensor in tensors.items() if not key.startswith("state_dict.")}


@torch.no_grad()
def run_case(network: VideoTransformer, case: dict[str, Tensor]) -> Tensor:
    """Logits [B, N, X]. ValueError for more tokens than the grid has cells."""
    config = network.config
    layout = network.layout(1, config.max_frames, config.max_height, config.max_width)
    context_BLC = case["in.context"] if config.cross_attention_every else None
    if case["in.tokens"].shape[1] > layout.num_rows:
        raise ValueError(f"{case['in.tokens'].shape[1]} tokens do not fit a grid of {layout.num_rows} cells")
    rows = network.guide(layout, text_BVLC=None if context_BLC is None else context_BLC[:, None])
    return network(case["in.tokens"], rows)


def check_ar_case(path: Path) -> tuple[float, float]:
    """(largest error relative to the output's largest value, limit) of one reference case."""
    network, case = load_case(path)
    wanted = case["out"]
    error = (run_case(network, case) - wanted).abs().max() / wanted.abs().max()
    return error.item(), LIMIT
