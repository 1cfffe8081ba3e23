"""Weights in and out of the model: strict loading with an account of every tensor, saving, and export.

Shape legend: D width, C input channels of the patch embedding, P cells of a patch.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from worldtune.contract.condition import Widths
from worldtune.contract.files import write_json, write_whole
from worldtune.contract.nouns import Coverage
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.formats import (
    DENSE,
    DESCRIPTION,
    DIFFUSERS_WEIGHTS,
    WEIGHTS,
    Checkpoint,
    description,
    join_dense,
    read_checkpoint,
)
from worldtune.families.diffusion.infer import diffusers_config
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.naming import (
    FRAME_INJECTION,
    LOG_VARIANCE,
    PATCH_EMBED,
    ROPE_SEQUENCE,
    diffusers_from_ours,
    nvidia_from_ours,
)


def load_base(path: Path, widths: Widths) -> tuple[DiffusionModel, Coverage]:
    """A model with float32 weights grown to take `widths`, equal to the checkpoint at step 0, and the coverage."""
    return load_model(path, widths)


def load_model(
    path: Path,
    widths: Widths,
    *,
    dtype: torch.dtype | None = torch.float32,
    condition_mask: bool = False,
) -> tuple[DiffusionModel, Coverage]:
    """Read a checkpoint of any layout into a model for `widths`.

    `dtype` None keeps the file's. `condition_mask` True adds that input channel to a base without it. What is added
    starts with zero output and depends on nothing but its shape. Raises ValueError, naming the file, for a damaged
    file, for a tensor of another shape, and for any missing or unknown tensor that the request does not explain.
    """
    checkpoint = read_checkpoint(path)
    tensors, config, reshaped = dict(checkpoint.tensors), checkpoint.config, []
    if condition_mask and not config.condition_mask:
        tensors[PATCH_EMBED] = insert_zero_channel(tensors[PATCH_EMBED], config)
        config, reshaped = replace(config, condition_mask=True), [PATCH_EMBED]
    with torch.device("meta"):
        model = DiffusionModel(config, widths)
    fresh = _materialise_fresh(model, tensors)
    coverage = _account(model, tensors, fresh, reshaped, checkpoint)
    coverage.require_complete(str(checkpoint.source))
    state = {
        name: tensors[name].to(dtype or tensors[name].dtype, copy=True) for name in coverage.matched + coverage.reshaped
    }
    model.load_state_dict(state, strict=False, assign=True)
    return model.requires_grad_(True), coverage


def insert_zero_channel(weight_DK: Tensor, config: NetworkConfig) -> Tensor:
    """Room for the condition mask after the latent channels, zero."""
    first = config.latent_channels * config.patch_spatial**2
    zeros = weight_DK.new_zeros(weight_DK.shape[0], config.patch_spatial**2)
    return torch.cat([weight_DK[:, :first], zeros, weight_DK[:, first:]], dim=1)


def _materialise_fresh(model: DiffusionModel, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Initialise the modules that a base may lack and this one does; names of their tensors. Always the same values."""
    optional: dict[str, nn.Module | None] = {
        FRAME_INJECTION: model.net.frame_injection,
        DENSE.removesuffix("proj.weight"): model.net.dense_injection,
        LOG_VARIANCE: model.logvar,
    }
    names: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for prefix, module in optional.items():
            if module is None or any(key.startswith(prefix) for key in tensors):
                continue
            module.to_empty(device="cpu")
            module.reset_parameters()  # type: ignore[operator]
            names += [prefix + key for key in module.state_dict()]
    return tuple(names)


def _account(
    model: DiffusionModel,
    tensors: Mapping[str, Tensor],
    fresh: tuple[str, ...],
    reshaped: list[str],
    checkpoint: Checkpoint,
) -> Coverage:
    """Sort every tensor. ValueError for one whose shape is not the network's."""
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
    for name in sorted(wanted.keys() & tensors.keys()):
        if tensors[name].shape != wanted[name]:
            raise ValueError(
                f"{checkpoint.source}: weights of another size: {name} is {tuple(tensors[name].shape)}, "
                f"the network wants {tuple(wanted[name])}"
            )
    return Coverage(
        matched=tuple(name for name in wanted if name in tensors and name not in reshaped),
        missing=tuple(name for name in wanted if name not in tensors and name not in fresh),
        unexpected=(*checkpoint.unexpected, *(name for name in tensors if name not in wanted)),
        reshaped=tuple(reshaped),
        new_and_zero=fresh,
        ignored=checkpoint.ignored,
    )


def carriers_of(weights: Mapping[str, Tensor], config: NetworkConfig) -> Widths:
    """The carriers that a state dict was trained with, text apart: every network reads text."""
    frame = weights[f"{FRAME_INJECTION}hidden.weight"].shape[1] if f"{FRAME_INJECTION}hidden.weight" in weights else 0
    dense = weights[DENSE].shape[1] // config.patch_spatial**2 if DENSE in weights else 0
    return Widths(frame=frame, dense=dense)


def save(model: DiffusionModel, folder: Path) -> None:
    """Our own layout: `config.json` and `model.safetensors`; the dtype stays as it is."""
    _save_safetensors(model.state_dict(), folder / WEIGHTS)
    write_json(folder / "config.json", description(model.net.config, model.net.widths))


def export_nvidia(weights: Mapping[str, Tensor], config: NetworkConfig, folder: Path) -> None:
    """`model.pt` under NVIDIA's names, and our description beside it.

    Dense channels become columns of the patch embedding. Frame injection has no counterpart and keeps our names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with write_whole(folder / "model.pt") as temporary:
        torch.save(nvidia_tensors(weights, config), temporary)
    write_json(folder / DESCRIPTION, description(config, carriers_of(weights, config)))


def nvidia_tensors(weights: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    """All tensors of NVIDIA's `model.pt` by its names."""
    longest = max(
        config.max_height // config.patch_spatial, config.max_width // config.patch_spatial, config.max_frames
    )
    renamed = {nvidia_from_ours(name): tensor for name, tensor in _with_dense_joined(weights, config).items()}
    assert None not in renamed, "a tensor without a row in the naming table"
    return {ROPE_SEQUENCE: torch.arange(longest, dtype=torch.float32)} | {str(k): v for k, v in renamed.items()}


def export_diffusers(weights: Mapping[str, Tensor], config: NetworkConfig, folder: Path) -> None:
    """A folder for `CosmosTransformer3DModel.from_pretrained`; the log-variance head has no place there.

    Dense channels become further input channels, to be given after the latent and the condition mask. Raises
    ValueError for a network that diffusers' class cannot express.
    """
    widths = carriers_of(weights, config)
    if widths.frame:
        raise ValueError("diffusers' CosmosTransformer3DModel has no place for a frame control; export it as nvidia")
    value = diffusers_config(config, widths.dense)
    renamed = {diffusers_from_ours(name): tensor for name, tensor in _with_dense_joined(weights, config).items()}
    _save_safetensors({name: tensor for name, tensor in renamed.items() if name}, folder / DIFFUSERS_WEIGHTS)
    write_json(folder / DESCRIPTION, description(config, widths))
    write_json(folder / "config.json", value)


def _with_dense_joined(weights: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    joined = {name: tensor for name, tensor in weights.items() if name != DENSE}
    if DENSE in weights:
        joined[PATCH_EMBED] = join_dense(weights[PATCH_EMBED], weights[DENSE], config)
    return joined


def _save_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    with write_whole(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {"format": "pt"})
