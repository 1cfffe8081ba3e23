"""NVIDIA's files of a tokenizer: TorchScript archives, `model.pt` and `mean_std.pt`.

Shape legend: T latent frames, C latent channels.
"""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldtune.contract.files import write_whole
from worldtune.networks.causal_video.checkpoint import Checkpoint, Statistics
from worldtune.networks.causal_video.config import TokenizerConfig
from worldtune.networks.causal_video.deduce import deduce_config, deduce_levels, is_constant
from worldtune.networks.causal_video.torchscript import read_tensors

_NETWORK = "network."
_EMA = "ema.network-"
_HAAR = 0.7071067811865476


def read_folder(folder: Path) -> Checkpoint:
    """`autoencoder.jit`, or `encoder.jit` with `decoder.jit`, or `model.pt`; and `mean_std.pt` where there is one."""
    autoencoder, encoder, decoder = (folder / f"{name}.jit" for name in ("autoencoder", "encoder", "decoder"))
    if autoencoder.exists():
        return read_file(autoencoder)
    if encoder.exists() or decoder.exists():
        halves = read_tensors(encoder) | read_tensors(decoder)
        return _with_statistics(from_tensors(halves, str(folder)), folder)
    return read_file(folder / "model.pt")


def read_file(path: Path) -> Checkpoint:
    """One `.jit` archive or one `.pt` file with the whole tokenizer; `mean_std.pt` is looked for beside it."""
    tensors = read_tensors(path) if path.suffix == ".jit" else _state_dict(load_pt(path), path)
    return _with_statistics(from_tensors(tensors, str(path)), path.parent)


def from_tensors(tensors: Mapping[str, Tensor], source: str, config: TokenizerConfig | None = None) -> Checkpoint:
    """A checkpoint from NVIDIA's state dict; the configuration is deduced from the shapes unless it is given."""
    return Checkpoint(
        config=config or deduce_config(tensors, source),
        tensors={name: tensor for name, tensor in tensors.items() if not is_constant(name)},
        source=source,
        levels=deduce_levels(tensors),
    )


def write_folder(checkpoint: Checkpoint, folder: Path) -> None:
    """`model.pt` as NVIDIA's tokenizer trainer reads it, and `mean_std.pt` when there are statistics."""
    tensors = checkpoint.tensors | _constants(checkpoint)
    with write_whole(folder) as temporary:
        temporary.mkdir()
        torch.save({"model": {_NETWORK + name: tensor for name, tensor in tensors.items()}}, temporary / "model.pt")
        if checkpoint.statistics is not None:
            statistics = checkpoint.statistics
            pair = (statistics.mean_TC.T.contiguous(), statistics.std_TC.T.contiguous())
            torch.save(pair, temporary / "mean_std.pt")


def load_pt(path: Path) -> Any:
    """A `.pt` file with tensors and plain containers only. ValueError naming the file for anything else."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path}: damaged, or it holds code and not only tensors; nothing in it was run") from None
    except Exception:
        # A damaged archive can raise nearly anything.
        raise ValueError(f"{path}: not a readable PyTorch file; it may be truncated") from None


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict) and "model" in content:
        content = content["model"]
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    tensors = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    # Training files hold a moving average beside the weights; NVIDIA exports the average, so it comes first.
    averaged = {name.removeprefix(_EMA).replace("-", "."): x for name, x in tensors.items() if name.startswith(_EMA)}
    plain = {name.removeprefix(_NETWORK): x for name, x in tensors.items() if not name.startswith("ema.")}
    return plain | averaged


def _with_statistics(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    path = folder / "mean_std.pt"
    if not path.exists():
        return checkpoint
    content = load_pt(path)
    if not (isinstance(content, tuple | list) and len(content) == 2 and all(isinstance(x, Tensor) for x in content)):
        raise ValueError(f"{path}: expected a pair of tensors (mean, std)")
    num_channels = checkpoint.config.latent_channels
    if any(x.numel() % num_channels for x in content):
        raise ValueError(f"{path}: {content[0].numel()} values do not divide into {num_channels} latent channels")
    try:
        mean_TC, std_TC = (x.reshape(num_channels, -1).T for x in content)
        return replace(checkpoint, statistics=Statistics(mean_TC=mean_TC, std_TC=std_TC))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _constants(checkpoint: Checkpoint) -> dict[str, Tensor]:
    config = checkpoint.config
    tap = _HAAR if config.patch_method == "haar" else 1.0
    dtype = next(iter(checkpoint.tensors.values())).dtype
    constants: dict[str, Tensor] = {}
    for owner in ("encoder.patcher3d", "decoder.unpatcher3d"):
        constants[f"{owner}.wavelets"] = torch.tensor([tap, tap]).to(dtype)
        constants[f"{owner}._arange"] = torch.arange(2)
    constants["encoder.patcher3d.patch_size_buffer"] = torch.tensor([config.patch_size], dtype=torch.int32)
    return constants
