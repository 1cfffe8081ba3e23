"""Our own folder of a tokenizer: `config.json` (shape, quantiser levels, statistics) and `model.safetensors`.

Shape legend: T latent frames, C latent channels.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from worldtune.contract.files import read_json, write_json, write_whole
from worldtune.networks.causal_video.checkpoint import Checkpoint, Statistics
from worldtune.networks.causal_video.config import from_nvidia
from worldtune.networks.causal_video.weights import read_safetensors, write_safetensors

FORMAT = "worldtune-causal-video"
_WEIGHTS = "model.safetensors"


def read_folder(folder: Path) -> Checkpoint:
    """The inverse of `write_folder`."""
    source = str(folder / "config.json")
    values = read_json(folder / "config.json")
    try:
        return Checkpoint(
            config=from_nvidia(values["tokenizer"], source),
            tensors=read_safetensors(folder / _WEIGHTS),
            source=str(folder / _WEIGHTS),
            statistics=_statistics(values["statistics"], source),
            levels=tuple(values["levels"]),
        )
    except KeyError as error:
        raise ValueError(f"{source}: no key {error}") from None


def write_folder(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the folder whole; an existing one is replaced in one step."""
    values = {
        "format": FORMAT,
        "tokenizer": asdict(checkpoint.config),
        "levels": checkpoint.levels,
        "statistics": None
        if checkpoint.statistics is None
        else {name: x_TC.tolist() for name, x_TC in vars(checkpoint.statistics).items()},
    }
    with write_whole(folder) as temporary:
        temporary.mkdir()
        write_safetensors(checkpoint.tensors, temporary / _WEIGHTS)
        write_json(temporary / "config.json", values)


def _statistics(values: dict[str, Any] | None, source: str) -> Statistics | None:
    if values is None:
        return None
    try:
        return Statistics(mean_TC=torch.tensor(values["mean_TC"]), std_TC=torch.tensor(values["std_TC"]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: statistics: {error}") from None
