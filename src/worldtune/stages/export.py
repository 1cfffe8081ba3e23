"""Give a post-trained network to other software."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from worldtune.contract.errors import suggest
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.weights import export_diffusers, export_nvidia

LAYOUTS: dict[str, Callable[[Mapping[str, Tensor], NetworkConfig, Path], None]] = {
    "nvidia": export_nvidia,
    "diffusers": export_diffusers,
}


def export(weights: Mapping[str, Tensor], config: NetworkConfig, folder: Path, layout: str) -> None:
    """Write a diffusion model's state dict for other software; the dtype stays as it is.

    `nvidia` writes `model.pt`, `diffusers` writes `config.json` and safetensors. ValueError for another layout, and
    for a network that the layout cannot express.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"no export layout {layout!r}: {suggest(layout, LAYOUTS)}")
    LAYOUTS[layout](weights, config, folder)
