"""Diffusion world models of the Cosmos-1 line: GeneralDIT, EDM objective, RES-2ab and Euler samplers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from worldtune.families.diffusion.blocks import MLP, Attention
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.formats import read_checkpoint, recognises
from worldtune.families.diffusion.objective import Objective, loss
from worldtune.families.diffusion.sampler import Sampler, sample
from worldtune.families.diffusion.weights import export_diffusers, export_nvidia, load_base

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
WINDOW: dict[str, Any] = {"num_frames": 121, "fps_hz": 24.0, "height_px": 704, "width_px": 1280}
"""What the released single-view Cosmos-1 models were trained on."""
MODELS_TOKENS = False
EXPORTS = {"nvidia": export_nvidia, "diffusers": export_diffusers}


def network_config(path: Path, weights: Mapping[str, Tensor]) -> NetworkConfig:
    """That of the base: what controls add is no part of it."""
    return read_checkpoint(path).config


def wrap_units(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks."""
    return list(model.get_submodule("net.blocks").children())


def adapter_targets(model: nn.Module) -> list[str]:
    """Queries, keys, values, outputs and MLP layers of every block."""
    return [
        f"{owner_name}.{name}"
        for owner_name, owner in model.named_modules()
        if isinstance(owner, (Attention, MLP))
        for name, layer in owner.named_children()
        if isinstance(layer, nn.Linear)
    ]
