"""Read the tensors of a TorchScript archive without running anything that is in it.

An archive is a zip file: `data.pkl` describes the module tree, `data/0`, `data/1` ... hold the numbers, `code/` holds
programs. PyTorch's own loader compiles the programs. This reader never opens them, and its unpickler builds only
tensors and plain records, so a hostile archive can do no worse than be refused.
"""

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every parameter and buffer by its dotted name. ValueError naming the file when it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            root = _root(archive)
            module = _Reader(archive, root).load()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:
        # A damaged pickle can raise nearly anything.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a readable TorchScript archive ({reason})") from None
    tensors: dict[str, Tensor] = {}
    _collect(module, "", tensors)
    return tensors


def _root(archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        if name.endswith("/data.pkl"):
            return name.removesuffix("/data.pkl")
    raise ValueError("it has no data.pkl")


def _collect(module: "_Record", prefix: str, tensors: dict[str, Tensor]) -> None:
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif isinstance(value, _Record):
            _collect(value, f"{prefix}{name}.", tensors)


class _Record:
    """Stands for any object whose class is defined in the archive: its attributes, none of its code."""

    attributes: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = dict(state)


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Record
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _device, _num_elements = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown stored object {kind!r}")
        return torch.frombuffer(bytearray(self._archive.read(f"{self._root}/data/{key}")), dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)
