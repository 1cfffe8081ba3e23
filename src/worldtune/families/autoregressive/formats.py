"""Checkpoints on disk: NVIDIA's `model.pt` or safetensors, and our own folder. Each is read into our tensor names.

Our description of a network is `config.json` in our own folder, and lies as `worldtune.json` beside an export, so that
what the foreign layout cannot say is not lost.
"""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldtune.contract.files import read_json
from worldtune.families.autoregressive.config import NetworkConfig, from_json
from worldtune.families.autoregressive.infer import config_from_shapes
from worldtune.families.autoregressive.naming import ours_from_nvidia

WEIGHTS = "model.safetensors"
NVIDIA_WEIGHTS = "model.pt"
DESCRIPTION = "worldtune.json"
KIND = "worldtune-autoregressive"
EMBEDDING = "embed.weight"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint in our words. Tensors may still lie on disk, mapped into memory."""

    source: Path
    config: NetworkConfig
    tensors: Mapping[str, Tensor]
    """By our names."""
    unexpected: tuple[str, ...] = ()
    """Tensors that are none of the network's, by the file's own names."""
    ignored: tuple[str, ...] = ()
    """By-products of the format, by the file's own names."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read any layout. ValueError in one sentence for anything else, or for a damaged file.

    `path` is a `.pt` or `.safetensors` file, or a folder with `model.safetensors` or `model.pt`. Safetensors with our
    description as `config.json` beside them are in our names, others in NVIDIA's.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    found = _weights_file(path)
    if found is None:
        raise ValueError(f"{path}: no autoregressive checkpoint here, wanted {WEIGHTS} or {NVIDIA_WEIGHTS}")
    path = found
    if path.suffix != ".safetensors":
        return _from_nvidia(path, load_pickle(path))
    tensors = load_safetensors(path)
    described = path.parent / "config.json"
    if EMBEDDING in tensors or (described.exists() and _kind(described) == KIND):
        return Checkpoint(source=path, config=read_description(described), tensors=tensors)
    return _from_nvidia(path, tensors)


def recognises(path: Path) -> bool:
    """Whether a file or folder, in one of the layouts, holds a network of this family, by the names of its tensors."""
    found = _weights_file(path)
    if found is None:
        return False
    raw: Mapping[str, Any] = load_safetensors(found) if found.suffix == ".safetensors" else load_pickle(found)
    raw = raw["model"] if isinstance(raw.get("model"), Mapping) else raw
    return any(key == EMBEDDING or ours_from_nvidia(key) == EMBEDDING for key in raw)


def _weights_file(path: Path) -> Path | None:
    """`path` itself, or the weights in it."""
    if not path.is_dir():
        return path
    return next((path / name for name in (WEIGHTS, NVIDIA_WEIGHTS) if (path / name).exists()), None)


def _from_nvidia(path: Path, raw: Mapping[str, Any]) -> Checkpoint:
    """Without our description beside it the configuration is inferred from the shapes."""
    raw = raw["model"] if isinstance(raw.get("model"), Mapping) else raw
    ignored = tuple(key for key in raw if key.endswith("_extra_state"))
    kept = {key: value for key, value in raw.items() if key not in ignored}
    strangers = [key for key, value in kept.items() if not isinstance(value, Tensor)]
    if strangers:
        raise ValueError(f"{path}: {strangers[0]} is a {type(kept[strangers[0]]).__name__}, wanted only tensors")
    names = {key: ours_from_nvidia(key) for key in kept}
    tensors = {name: kept[key] for key, name in names.items() if name is not None}
    described = path.parent / DESCRIPTION
    return Checkpoint(
        source=path,
        config=read_description(described) if described.exists() else config_from_shapes(path, tensors),
        tensors=tensors,
        unexpected=tuple(key for key, name in names.items() if name is None),
        ignored=ignored,
    )


def _kind(path: Path) -> Any:
    value = read_json(path)
    return value.get("kind") if isinstance(value, dict) else None


def description(config: NetworkConfig) -> dict[str, Any]:
    """What `read_description` reads."""
    return {"kind": KIND, "network": asdict(config)}


def read_description(path: Path) -> NetworkConfig:
    """The configuration. ValueError naming the file and the key that is wrong."""
    if _kind(path) != KIND:
        raise ValueError(f"{path}: not the description of an autoregressive network (wanted kind {KIND!r})")
    network = read_json(path).get("network")
    if not isinstance(network, dict):
        raise ValueError(f"{path}: network is missing")
    return from_json(NetworkConfig, network, path)


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, mapped into memory. ValueError when damaged."""
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged or cut short ({error})") from None


def load_pickle(path: Path) -> dict[str, Any]:
    """A dictionary out of torch.save, tensors only. ValueError for code inside, a damaged file, or another content."""
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path}: refused, because it holds more than tensors (opening it could run code) or is damaged"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: damaged or cut short ({reason})") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{path}: holds a {type(value).__name__}, wanted a dictionary of tensors")
    return value
