"""Checkpoints on disk: NVIDIA's `model.pt`, diffusers' folder, our own folder. Each is read into our tensor names.

Our description of a network (its configuration and the channels of its carriers) is `config.json` in our own folder,
and lies as `worldtune.json` beside an export, so that what the foreign layout cannot say is not lost.

Shape legend: D width, C input channels of the patch embedding, P cells of a patch.
"""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldtune.contract.condition import Widths
from worldtune.contract.files import read_json
from worldtune.families.diffusion.config import NetworkConfig, from_json
from worldtune.families.diffusion.infer import config_from_diffusers, config_from_shapes, require_agreement
from worldtune.families.diffusion.inject import GAIN
from worldtune.families.diffusion.naming import PATCH_EMBED, ROPE_SEQUENCE, ours_from_diffusers, ours_from_nvidia

WEIGHTS = "model.safetensors"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
DESCRIPTION = "worldtune.json"
KIND = "worldtune-diffusion"
DENSE = "net.dense_injection.proj.weight"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint in our words. Tensors may still lie on disk, mapped into memory."""

    source: Path
    config: NetworkConfig
    widths: Widths
    """Carriers that the checkpoint was trained with."""
    tensors: Mapping[str, Tensor]
    """By our names."""
    unexpected: tuple[str, ...] = ()
    """Tensors that are none of the network's, by the file's own names."""
    ignored: tuple[str, ...] = ()
    """By-products of the format, by the file's own names."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read any of the three layouts. ValueError in one sentence for anything else, or for a damaged file.

    `path` is a `.pt` file, a folder with `model.safetensors` and our `config.json`, a diffusers transformer folder, a
    diffusers pipeline folder, or a folder with NVIDIA's `model.pt`.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.is_file():
        return read_ours(path.parent) if path.name == WEIGHTS else read_nvidia(path)
    if (path / "transformer" / "config.json").exists():
        return read_diffusers(path / "transformer")
    if (path / WEIGHTS).exists():
        return read_ours(path)
    if (path / "model.pt").exists():
        return read_nvidia(path / "model.pt")
    if (path / "config.json").exists():
        return read_diffusers(path)
    raise ValueError(f"{path}: no diffusion checkpoint here, wanted {WEIGHTS}, model.pt or a diffusers config.json")


def recognises(path: Path) -> bool:
    """Whether a file or folder, in one of the layouts, holds a network of this family, by its description or names."""
    if (path / "transformer" / "config.json").exists():
        return True
    if path.is_dir():
        found = [path / name for name in (WEIGHTS, "model.pt") if (path / name).exists()]
        if not found:
            return (path / "config.json").exists()
        path = found[0]
    if path.suffix == ".safetensors":
        return any(key.startswith("net.") for key, _ in safetensors_items(path))
    return any(key.startswith("net.") for key in load_pickle(path))


def read_ours(folder: Path) -> Checkpoint:
    """Our own folder: `config.json` and `model.safetensors`."""
    config, widths = read_description(folder / "config.json")
    tensors = dict(safetensors_items(folder / WEIGHTS))
    return Checkpoint(source=folder / WEIGHTS, config=config, widths=widths, tensors=tensors)


def read_nvidia(path: Path) -> Checkpoint:
    """NVIDIA's `model.pt`. Without our description beside it the configuration is inferred from the shapes."""
    raw = load_pickle(path)
    ignored = tuple(key for key in raw if key == ROPE_SEQUENCE or key.endswith("_extra_state"))
    kept = {key: value for key, value in raw.items() if key not in ignored}
    strangers = [key for key, value in kept.items() if not isinstance(value, Tensor)]
    if strangers:
        raise ValueError(f"{path}: {strangers[0]} is a {type(kept[strangers[0]]).__name__}, wanted only tensors")
    described = path.parent / DESCRIPTION
    config, widths = read_description(described) if described.exists() else config_from_shapes(path, raw)
    return _checkpoint(path, config, widths, kept, ours_from_nvidia, ignored)


def read_diffusers(folder: Path) -> Checkpoint:
    """A diffusers transformer folder, one file or several. ValueError when our description says other than theirs."""
    described = folder / DESCRIPTION
    config, widths = config_from_diffusers(folder / "config.json")
    if described.exists():
        config, widths = read_description(described)
        require_agreement(folder / "config.json", described, config, widths.dense)
    index = folder / f"{DIFFUSERS_WEIGHTS}.index.json"
    names = sorted(set(read_json(index)["weight_map"].values())) if index.exists() else [DIFFUSERS_WEIGHTS]
    tensors = {key: tensor for name in names for key, tensor in safetensors_items(folder / name)}
    return _checkpoint(folder, config, widths, tensors, ours_from_diffusers, ())


def _checkpoint(
    source: Path,
    config: NetworkConfig,
    widths: Widths,
    foreign: Mapping[str, Tensor],
    rename: Any,
    ignored: tuple[str, ...],
) -> Checkpoint:
    names = {key: rename(key) for key in foreign}
    tensors = {name: foreign[key] for key, name in names.items() if name is not None}
    if widths.dense and PATCH_EMBED in tensors:
        tensors.update(split_dense(tensors[PATCH_EMBED], config, widths.dense))
    return Checkpoint(
        source=source,
        config=config,
        widths=widths,
        tensors=tensors,
        unexpected=tuple(key for key, name in names.items() if name is None),
        ignored=ignored,
    )


def split_dense(weight_DK: Tensor, config: NetworkConfig, channels: int) -> dict[str, Tensor]:
    """Take a dense control's columns out of a foreign patch embedding: they stand after the condition mask."""
    weight_DCP = weight_DK.unflatten(1, (-1, config.patch_spatial**2))
    first = config.latent_channels + int(config.condition_mask)
    before, dense, after = weight_DCP.tensor_split([first, first + channels], dim=1)
    return {PATCH_EMBED: torch.cat([before, after], dim=1).flatten(1), DENSE: dense.flatten(1) / GAIN}


def join_dense(weight_DK: Tensor, dense_DK: Tensor, config: NetworkConfig) -> Tensor:
    """One patch embedding as NVIDIA and diffusers have it: the inverse of `split_dense`."""
    patch = config.patch_spatial**2
    first = (config.latent_channels + int(config.condition_mask)) * patch
    return torch.cat([weight_DK[:, :first], GAIN * dense_DK, weight_DK[:, first:]], dim=1)


def description(config: NetworkConfig, widths: Widths) -> dict[str, Any]:
    """What `read_description` reads."""
    return {"kind": KIND, "network": asdict(config), "widths": asdict(widths)}


def read_description(path: Path) -> tuple[NetworkConfig, Widths]:
    """Configuration and carriers. ValueError naming the file and the key that is wrong."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise ValueError(f"{path}: not the description of a diffusion network (wanted kind {KIND!r})")
    for part in ("network", "widths"):
        if not isinstance(value.get(part), dict):
            raise ValueError(f"{path}: {part} is missing")
    return from_json(NetworkConfig, value["network"], path), from_json(Widths, value["widths"], path)


def safetensors_items(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a safetensors file, mapped into memory. ValueError when absent or damaged."""
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                yield key, file.get_tensor(key)
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
        raise ValueError(
            f"{path}: damaged or cut short ({(str(error) or type(error).__name__).splitlines()[0]})"
        ) from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{path}: holds a {type(value).__name__}, wanted a dictionary of tensors")
    return value
