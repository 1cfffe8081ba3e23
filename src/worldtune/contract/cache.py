"""The cache: what `prepare` writes once and training reads many times.

A folder with `header.json` (what every entry shares), one safetensors file per clip under `entries/`, and
`index.json`, which appears when every clip is there. Entries are written whole, so a killed `prepare` continues.

Tensors of an entry: "latent" [V,T,H,W,C] as the codec made it (float16, not normalised: statistics may change without
a rebuild), or "tokens" [V,T,H,W] of a discrete codec (uint16, or uint32 for more than 65,536 ids); and
"<control>/<array>" for every aligned control. Arrays of varying length (text) hold their true rows; readers pad them
with zeros to the header's shape.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from worldtune.contract.files import read_json, write_json, write_whole
from worldtune.contract.latents import Normalisation
from worldtune.contract.nouns import Grid

VERSION = 1
_HASH_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class CacheHeader:
    """What all entries of a cache share. Two caches with equal headers may be continued, others may not."""

    base: str
    """Name of the base the cache was prepared for."""
    codec: str
    """Identity of the codec: a hash of its weights and configuration."""
    text_encoder: str
    """Identity of the text encoder."""
    dataset: str
    """Folder of the dataset, absolute."""
    dataset_identity: str
    """Hash of the dataset's files: a changed dataset needs a new cache."""
    window: dict[str, Any]
    """How clips were cut: num_frames, fps_hz, height_px, width_px, stride, resize."""
    grid: Grid
    """Latent grid of every entry."""
    controls: list[str]
    """Names of the aligned controls, sorted."""
    arrays: dict[str, list[int]] = field(default_factory=dict)
    """Full shape of every control array, "<control>/<array>", padding included."""
    latent_mean_TC: list[list[float]] = field(default_factory=list)
    """Statistics of raw latents, one row per latent frame; empty in a cache of tokens."""
    latent_std_TC: list[list[float]] = field(default_factory=list)
    version: int = VERSION

    @property
    def normalisation(self) -> Normalisation:
        """Of the latents; without meaning in a cache of tokens."""
        return Normalisation(torch.tensor(self.latent_mean_TC), torch.tensor(self.latent_std_TC))

    def is_of(self, dataset_identity: str) -> bool:
        """Whether the cache was made from the dataset of this identity."""
        # Earlier caches know the first hash alone, which is of meta/.
        return self.dataset_identity in (dataset_identity, dataset_identity[:_HASH_LENGTH])

    def difference(self, other: "CacheHeader") -> list[str]:
        """Names of the fields that differ."""
        # As JSON keeps it: a tuple comes back from the file as a list.
        mine, theirs = (json.loads(json.dumps(asdict(header))) for header in (self, other))
        if self.is_of(other.dataset_identity):
            mine["dataset_identity"] = theirs["dataset_identity"]
        return [name for name in mine if mine[name] != theirs[name]]


def _header_from(path: Path) -> CacheHeader:
    value = read_json(path)
    try:
        # Earlier caches have a dictionary of settings here, none of which decided what was cached.
        return CacheHeader(**{**value, "grid": Grid(**value["grid"]), "controls": sorted(value["controls"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a cache header of version {VERSION} ({error})") from None


class CacheWriter:
    """Adds entries to a new or unfinished cache. ValueError when the folder holds a cache made otherwise."""

    def __init__(self, folder: Path, header: CacheHeader) -> None:
        self.folder, self.header = folder, header
        path = folder / "header.json"
        if path.exists():
            if changed := _header_from(path).difference(header):
                raise ValueError(
                    f"{folder}: holds a cache made with another {', '.join(changed)}; choose another folder"
                )
        elif folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder}: not empty and not a cache; choose another folder")
        else:
            write_json(path, asdict(header))
        (folder / "entries").mkdir(exist_ok=True)

    def __contains__(self, clip_id: str) -> bool:
        return self._path(clip_id).exists()

    def _path(self, clip_id: str) -> Path:
        return self.folder / "entries" / f"{clip_id}.safetensors"

    def add(self, clip_id: str, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
        """Write one entry whole. `info` holds at least "split", "fps_hz", "texts" and "views"; JSON values only."""
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"info": json.dumps(info)})
        with write_whole(self._path(clip_id)) as temporary:
            temporary.write_bytes(data)

    def finish(self, clip_ids: Sequence[str]) -> None:
        """Write the index of these entries, in this order. ValueError when one of them is missing."""
        missing = [clip_id for clip_id in clip_ids if clip_id not in self]
        if missing:
            raise ValueError(
                f"{self.folder}: {len(missing)} of {len(clip_ids)} clips are not encoded, e.g. {missing[0]}"
            )
        rows = []
        for clip_id in clip_ids:
            with _opened(self._path(clip_id)) as stream:
                rows.append({"id": clip_id, **json.loads(stream.metadata()["info"])})
        write_json(self.folder / "index.json", rows)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, FileNotFoundError, OSError) as error:
        raise ValueError(
            f"{path}: cache entry is missing or corrupt ({error}); delete it and run prepare again"
        ) from None


class Cache:
    """A finished cache, read only."""

    def __init__(self, folder: Path, header: CacheHeader, rows: list[dict[str, Any]]) -> None:
        self.folder, self.header, self._rows = folder, header, rows

    @staticmethod
    def open(folder: Path) -> "Cache":
        """ValueError when the folder is no cache, or `prepare` has not finished it."""
        header_path, index_path = folder / "header.json", folder / "index.json"
        if not header_path.exists():
            raise ValueError(f"{folder}: not a cache (no header.json); make one with `worldtune prepare`")
        if not index_path.exists():
            raise ValueError(f"{folder}: prepare has not finished; run the same `worldtune prepare` again")
        header, rows = _header_from(header_path), read_json(index_path)
        if not isinstance(rows, list) or any(not isinstance(row, dict) or "split" not in row for row in rows):
            raise ValueError(f"{index_path}: not a cache index of version {VERSION}; delete it and run prepare again")
        return Cache(folder, header, rows)

    @property
    def ids(self) -> tuple[str, ...]:
        """Clip ids in the order of the dataset."""
        return tuple(row["id"] for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def info(self, index: int) -> dict[str, Any]:
        """What `prepare` noted of a clip: id, split, fps_hz, texts, views, episode, start."""
        return self._rows[index]

    def indices(self, split: str) -> list[int]:
        """Positions of all clips of a split. ValueError when it is empty."""
        found = [index for index, row in enumerate(self._rows) if row["split"] == split]
        if not found:
            splits = sorted({row["split"] for row in self._rows})
            raise ValueError(f"{self.folder}: no clip in split {split!r}; it has {', '.join(splits) or 'no clips'}")
        return found

    def tensors(self, index: int, prefix: str = "") -> dict[str, Tensor]:
        """The tensors of one clip whose names begin so; control arrays padded with zeros to the header's shape."""
        path = self.folder / "entries" / f"{self._rows[index]['id']}.safetensors"
        with _opened(path) as stream:
            try:
                names = [name for name in stream.keys() if name.startswith(prefix)]  # noqa: SIM118
                tensors = {name: stream.get_tensor(name) for name in names}
            except SafetensorError as error:
                raise ValueError(f"{path}: cache entry is corrupt ({error}); delete it and run prepare again") from None
        return {name: self._padded(name, tensor, path) for name, tensor in tensors.items()}

    def _padded(self, name: str, tensor: Tensor, path: Path) -> Tensor:
        if name not in self.header.arrays:
            return tensor
        shape = self.header.arrays[name]
        if len(shape) != tensor.ndim or any(got > full for got, full in zip(tensor.shape, shape, strict=True)):
            raise ValueError(f"{path}: {name} has shape {list(tensor.shape)}, the cache allows {shape}")
        if list(tensor.shape) == shape:
            return tensor
        padded = torch.zeros(shape, dtype=tensor.dtype)
        padded[tuple(slice(size) for size in tensor.shape)] = tensor
        return padded
