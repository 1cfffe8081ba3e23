"""Give a post-trained network to other software."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from worldtune.contract import rooms
from worldtune.contract.errors import suggest
from worldtune.run import load_run
from worldtune.stages.base import find_base
from worldtune.stages.world import weights_path


def export(family: str, weights: Mapping[str, Tensor], config: Any, folder: Path, layout: str) -> None:
    """Write a family's state dict for other software; the dtype stays as it is.

    `nvidia` writes `model.pt`, `diffusers` writes `config.json` and safetensors. ValueError for a layout that the
    family does not have, and for a network that the layout cannot express.
    """
    layouts = rooms.load("families", family).EXPORTS
    if layout not in layouts:
        raise ValueError(f"no export layout {layout!r} for the {family} family: {suggest(layout, layouts)}")
    layouts[layout](weights, config, folder)


def export_run(run: Path, folder: Path, layout: str, weights: str = "ema") -> Path:
    """Write the network of a finished run; `weights` is "ema" or "raw". Returns `folder`.

    The encoders of the controls have no place in foreign layouts and stay in the run.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: not empty; choose another folder")
    settings = load_run(run)
    path = weights_path(run, weights)
    tensors = {name: tensor for name, tensor in load_file(path).items() if name.startswith("network.")}
    base = find_base(settings.base, settings.codec_path, settings.text_encoder_path)
    network = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
    config = rooms.load("families", settings.family).network_config(base.network, network)
    export(settings.family, network, config, folder, layout)
    return folder
