"""Reading a tokenizer from whatever layout a path has."""

from pathlib import Path

from worldtune.contract.files import read_json
from worldtune.networks.causal_video import diffusers_layout, native, nvidia
from worldtune.networks.causal_video.checkpoint import Checkpoint
from worldtune.networks.causal_video.weights import read_safetensors


def read(path: Path) -> Checkpoint:
    """A tokenizer from a file or folder. ValueError with one sentence when there is none.

    Folders: our own (`config.json` + `model.safetensors`), diffusers' `AutoencoderKLCosmos` or a pipeline with it in
    `vae/`, NVIDIA's (`autoencoder.jit`, `encoder.jit` + `decoder.jit` or `model.pt`, with `mean_std.pt`).
    Files: `.jit`, `.pt`, or `.safetensors` with NVIDIA's names.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix == ".safetensors":
            return nvidia.from_tensors(read_safetensors(path), str(path))
        if path.suffix in (".jit", ".pt"):
            return nvidia.read_file(path)
        raise ValueError(f"{path}: a tokenizer file ends in .safetensors, .jit or .pt")
    return _read_folder(path)


def _read_folder(folder: Path) -> Checkpoint:
    kind = _kind(folder)
    if kind == native.FORMAT:
        return native.read_folder(folder)
    if kind == diffusers_layout.CLASS_NAME:
        return diffusers_layout.read_folder(folder)
    if any((folder / name).exists() for name in ("autoencoder.jit", "encoder.jit", "decoder.jit", "model.pt")):
        return nvidia.read_folder(folder)
    if (folder / "vae").is_dir():
        return _read_folder(folder / "vae")
    raise ValueError(
        f"{folder}: no tokenizer here: expected our config.json, diffusers' {diffusers_layout.CLASS_NAME}, or NVIDIA's "
        "autoencoder.jit, encoder.jit + decoder.jit or model.pt"
    )


def _kind(folder: Path) -> str | None:
    """What `config.json` says the folder is, None when it says nothing."""
    path = folder / "config.json"
    values = read_json(path) if path.exists() else {}
    for key in ("format", "_class_name"):
        if isinstance(values, dict) and key in values:
            return str(values[key])
    return None
