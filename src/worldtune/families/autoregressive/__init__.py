"""Autoregressive world models of the Cosmos-1 line: a transformer over video tokens, next-token objective."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from worldtune.families.autoregressive.blocks import MLP, Attention
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.formats import read_checkpoint, recognises
from worldtune.families.autoregressive.objective import Objective, loss
from worldtune.families.autoregressive.sampler import Sampler, sample
from worldtune.families.autoregressive.weights import export_nvidia, load_base, with_gained_text

__all__ = [
    "CARRIERS",
    "EXPORTS",
    "MODELS_TOKENS",
    "WINDOW",
    "Objective",
    "Sampler",
    "adapter_targets",
    "load_base",
    "loss",
    "network_config",
    "recognises",
    "sample",
    "wrap_units",
]

CARRIERS = frozenset({"text", "frame", "dense"})
WINDOW: dict[str, Any] = {"num_frames": 33, "fps_hz": 25.0, "height_px": 640, "width_px": 1024}
"""What the released Cosmos-1 models generate."""
MODELS_TOKENS = True
EXPORTS = {"nvidia": export_nvidia}


def network_config(path: Path, weights: Mapping[str, Tensor]) -> NetworkConfig:
    """That of the base, with the cross-attention that it may have gained."""
    cross = weights.get("blocks.0.cross.attention.to_k.weight")
    return with_gained_text(read_checkpoint(path).config, 0 if cross is None else cross.shape[1])


def wrap_units(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks."""
    return list(model.get_submodule("blocks").children())


def adapter_targets(model: nn.Module) -> list[str]:
    """Queries, keys, values, outputs and MLP layers of every block."""
    return [
        f"{owner_name}.{name}"
        for owner_name, owner in model.named_modules()
        if isinstance(owner, (Attention, MLP))
        for name, layer in owner.named_children()
        if isinstance(layer, nn.Linear)
    ]
