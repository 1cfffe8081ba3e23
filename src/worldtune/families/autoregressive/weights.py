"""Weights in and out of the model: strict loading with an account of every tensor, saving, and export."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from worldtune.contract.condition import Widths
from worldtune.contract.files import write_json, write_whole
from worldtune.contract.nouns import Coverage
from worldtune.families.autoregressive.blocks import Block
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.formats import (
    DESCRIPTION,
    NVIDIA_WEIGHTS,
    WEIGHTS,
    Checkpoint,
    description,
    read_checkpoint,
)
from worldtune.families.autoregressive.naming import INJECTIONS, NVIDIA_PREFIX, nvidia_from_ours
from worldtune.families.autoregressive.network import VideoTransformer


def load_base(path: Path, widths: Widths) -> tuple[VideoTransformer, Coverage]:
    """A model with float32 weights grown to take `widths`, equal to the checkpoint at step 0, and the coverage."""
    return load_model(path, widths)


def load_model(
    path: Path, widths: Widths, *, dtype: torch.dtype | None = torch.float32
) -> tuple[VideoTransformer, Coverage]:
    """Read a checkpoint of any layout into a model for `widths`; `dtype` None keeps the file's.

    A base without text gains cross-attention in every block when text is asked for. What is added starts with zero
    output and depends on nothing but its shape. Raises ValueError, naming the file, for a damaged file, for a tensor
    of another shape, and for any missing or unknown tensor that the request does not explain.
    """
    checkpoint = read_checkpoint(path)
    config = with_gained_text(checkpoint.config, widths.text)
    gains_text = config.cross_attention_every > checkpoint.config.cross_attention_every
    with torch.device("meta"):
        model = VideoTransformer(config, widths)
    fresh = _materialise_fresh(model, checkpoint.tensors, gains_text)
    coverage = _account(model, fresh, checkpoint)
    coverage.require_complete(str(checkpoint.source))
    state = {name: checkpoint.tensors[name] for name in coverage.matched}
    state = {name: tensor.to(dtype or tensor.dtype, copy=True) for name, tensor in state.items()}
    model.load_state_dict(state, strict=False, assign=True)
    return model.requires_grad_(True), coverage


def with_gained_text(config: NetworkConfig, text_channels: int) -> NetworkConfig:
    """With cross-attention in every block, if there is text and the base reads none."""
    if not text_channels or config.cross_attention_every:
        return config
    return replace(config, cross_attention_every=1, text_channels=text_channels)


def _materialise_fresh(model: VideoTransformer, tensors: Mapping[str, Tensor], gains_text: bool) -> tuple[str, ...]:
    """Initialise the modules that a base may lack and this one does; names of their tensors. Always the same values."""
    names: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            if gains_text and block.cross is not None:
                block.cross.to_empty(device="cpu").reset_parameters(layer)
                names += [f"blocks.{layer}.cross.{key}" for key in block.cross.state_dict()]
        injections = (model.frame_injection, model.dense_injection, model.view_embedding)
        for prefix, module in zip(INJECTIONS, injections, strict=True):
            if module is not None and not any(key.startswith(prefix) for key in tensors):
                module.to_empty(device="cpu").reset_parameters()
                names += [prefix + key for key in module.state_dict()]
    return tuple(names)


def _account(model: VideoTransformer, fresh: tuple[str, ...], checkpoint: Checkpoint) -> Coverage:
    """Sort every tensor. ValueError for one whose shape is not the network's."""
    tensors = checkpoint.tensors
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
    for name in sorted(wanted.keys() & tensors.keys()):
        if tensors[name].shape != wanted[name]:
            raise ValueError(
                f"{checkpoint.source}: weights of another size: {name} is {tuple(tensors[name].shape)}, "
                f"the network wants {tuple(wanted[name])}"
            )
    return Coverage(
        matched=tuple(name for name in wanted if name in tensors),
        missing=tuple(name for name in wanted if name not in tensors and name not in fresh),
        unexpected=(*checkpoint.unexpected, *(name for name in tensors if name not in wanted)),
        new_and_zero=fresh,
        ignored=checkpoint.ignored,
    )


def save(model: VideoTransformer, folder: Path) -> None:
    """Our own layout: `config.json` and `model.safetensors`; the dtype stays as it is."""
    with write_whole(folder / WEIGHTS) as temporary:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary, {"format": "pt"})
    write_json(folder / "config.json", description(model.config))


def export_nvidia(weights: Mapping[str, Tensor], config: NetworkConfig, folder: Path) -> None:
    """`model.pt` under NVIDIA's names, and our description beside it.

    Injections have no counterpart and keep our names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with write_whole(folder / NVIDIA_WEIGHTS) as temporary:
        torch.save(nvidia_tensors(weights), temporary)
    write_json(folder / DESCRIPTION, description(config))


def nvidia_tensors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of NVIDIA's `model.pt` by its names."""
    renamed = {nvidia_from_ours(name): tensor for name, tensor in weights.items()}
    assert None not in renamed, "a tensor without a row in the naming table"
    return {f"{NVIDIA_PREFIX}{name}": tensor for name, tensor in renamed.items()}
