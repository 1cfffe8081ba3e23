"""Safetensors files, whole and with one-sentence errors."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldtune.contract.files import write_whole


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. ValueError naming it when it is absent, truncated or of another kind."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file; it may be truncated ({error})") from None


def write_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a file whole, in one step."""
    with write_whole(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
