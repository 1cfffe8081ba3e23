"""Give a post-trained network to other software."""

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from worldtune.contract.errors import suggest
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.formats import read_checkpoint
from worldtune.families.diffusion.weights import export_diffusers, export_nvidia
from worldtune.run import load_run
from worldtune.stages.base import find_base

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


def export_run(run: Path, folder: Path, layout: str, weights: str = "ema") -> Path:
    """Write the network of a finished run; `weights` is "ema" or "raw". Returns `folder`.

    The encoders of the controls have no place in foreign layouts and stay in the run.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: not empty; choose another folder")
    settings = load_run(run)
    if settings.family != "diffusion":
        raise ValueError(f"{run}: only diffusion runs can be exported so far, this one is {settings.family}")
    path = run / "weights" / f"{weights}.safetensors"
    if not path.exists():
        raise ValueError(f"{path}: no such file; the run is not finished, start the same `worldtune train` again")
    tensors = {name: tensor for name, tensor in load_file(path).items() if name.startswith("network.")}
    base = find_base(settings.base, settings.codec_path, settings.text_encoder_path)
    network = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
    export(network, read_checkpoint(base.network).config, folder, layout)
    return folder
