"""Reading reference cases of a tokenizer: NVIDIA's weights, an input and NVIDIA's output in one safetensors file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldtune.networks.causal_video.checkpoint import Checkpoint
from worldtune.networks.causal_video.config import from_nvidia
from worldtune.networks.causal_video.nvidia import from_tensors
from worldtune.networks.causal_video.weights import read_safetensors

LIMIT = 2e-5
"""Largest difference allowed in float32, relative to the reference's largest absolute value."""

_WEIGHTS = "state_dict."
# Where a case's configuration is silent, NVIDIA's classes took these.
_DEFAULTS = {"patch_size": 1, "patch_method": "rearrange", "spatial_compression": 16, "temporal_compression": 8}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One reference case."""

    checkpoint: Checkpoint
    """The network's weights."""
    tensors: dict[str, Tensor]
    """Inputs `in.*` and outputs `out.*`."""
    levels: tuple[int, ...]
    """Quantiser levels, empty for a continuous tokenizer."""


def read_case(path: Path, required: tuple[str, ...]) -> Case:
    """ValueError naming the file when it is unreadable or lacks a tensor of `required`."""
    content = read_safetensors(path)
    absent = [name for name in required if name not in content]
    if absent:
        raise ValueError(f"{path}: not a tokenizer case, it has no {', '.join(absent)}")
    weights = {name.removeprefix(_WEIGHTS): x for name, x in content.items() if name.startswith(_WEIGHTS)}
    values = _metadata_config(path)
    config = from_nvidia(_DEFAULTS | values, str(path))
    return Case(
        checkpoint=from_tensors(weights, str(path), config),
        levels=tuple(values["levels"]) if "levels" in values else (),
        tensors={name: x for name, x in content.items() if not name.startswith(_WEIGHTS)},
    )


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """Largest absolute difference over the reference's largest absolute value; infinite when shapes differ.

    Quantised codes may be zero throughout: then 0 when ours are too.
    """
    if ours.shape != reference.shape:
        return float("inf")
    scale = reference.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return ((ours - reference).abs().max() / scale).item()


def _metadata_config(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["config"])
    except (KeyError, TypeError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"{path}: no readable configuration in its metadata ({error})") from None
