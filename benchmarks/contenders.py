"""Both sides of the comparison, with the same weights, the same tensors and the same optimizer.

WorldTune runs its own loss; diffusers' network runs in the plain loop that its examples use. The noise comes from
generators of one seed, so that both must compute the same loss.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels, L text rows, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import diffusers
import diffusers.models.transformers.transformer_cosmos as diffusers_cosmos
import peft
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.shapes import Shape
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.families import diffusion
from worldtune.families.diffusion.infer import diffusers_config
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.naming import diffusers_from_ours
from worldtune.training.adapters import AdapterConfig, adapt

PRECISIONS = {"fp32": (torch.float32, False), "bf16": (torch.bfloat16, False), "mixed": (torch.float32, True)}
"""Weights' dtype, and whether bf16 compute runs over them. "mixed" is what `worldtune train` does in bf16."""
SD = 0.5
LORA_RANK = 32
OBJECTIVE = diffusion.Objective(learn_variance=False, num_observed_max=1)
"""Log-variance off: diffusers has no such head."""


@dataclass
class Contender:
    """Something that makes training steps."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[int], Tensor]
    """Loss of the step of that number, with its graph."""

    def step(self, number: int) -> float:
        """Forward, backward, clip, update; the loss."""
        loss = self.loss(number)
        loss.backward()
        return self.update(loss)

    def update(self, loss: Tensor) -> float:
        """Everything after the backward pass."""
        torch.nn.utils.clip_grad_norm_(self.trainable, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    @property
    def trainable(self) -> list[nn.Parameter]:
        """Parameters that move."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]


def contenders(shape: Shape, *, precision: str, lora: bool, seed: int) -> list[Contender]:
    """WorldTune and diffusers, each with one noise level per clip and with one per latent frame.

    The two contenders of a side share weights and optimizer.
    """
    dtype, mixed = PRECISIONS[precision]
    batch, text_BVLD = _data(shape, dtype, seed)
    ours, theirs = _models(shape, dtype, seed)
    if lora:
        _insert_adapters(ours, theirs, seed)
    found = []
    for model, make_loss, name in ((ours, _our_loss, "WorldTune"), (theirs, _their_loss, "diffusers")):
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
        for per_frame, suffix in ((False, "one sigma"), (True, "sigma per frame")):
            loss = make_loss(model, batch, text_BVLD, per_frame, seed)
            found.append(Contender(f"{name}, {suffix}", model, optimizer, in_bf16(loss) if mixed else loss))
    return found


def in_bf16(loss: Callable[[int], Tensor]) -> Callable[[int], Tensor]:
    """The same loss, computed in bf16 over the weights as they are."""

    def wrapped(number: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return loss(number)

    return wrapped


def _data(shape: Shape, dtype: torch.dtype, seed: int) -> tuple[Batch, Tensor]:
    draws, net = generator(seed, 0, "benchmark"), shape.network
    size = (shape.batch_size, 1, shape.frames, shape.height, shape.width, net.latent_channels)
    batch = Batch(
        target=torch.randn(size, generator=draws),
        controls={},
        fps_hz_B=torch.full((shape.batch_size,), shape.fps_hz),
        clip_ids=tuple(map(str, range(shape.batch_size))),
        num_observed_B=torch.ones(shape.batch_size, dtype=torch.long),
    )
    return batch, torch.randn(shape.batch_size, 1, shape.text_rows, net.text_channels, generator=draws).to(dtype)


def _models(shape: Shape, dtype: torch.dtype, seed: int) -> tuple[DiffusionModel, nn.Module]:
    """Our network and diffusers' with our weights; every layer that starts at zero is given small values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ours = DiffusionModel(shape.network, Widths(text=shape.network.text_channels))
        for parameter in ours.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    ours.logvar.requires_grad_(False)
    settings = diffusers_config(shape.network, 0)
    theirs: Any = diffusers.CosmosTransformer3DModel(**{k: v for k, v in settings.items() if not k.startswith("_")})
    state = {diffusers_from_ours(name): tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict({name: tensor for name, tensor in state.items() if name is not None}, strict=True)
    diffusers_cosmos.transforms = _torchvision_in_three_lines()
    return ours.to(dtype), theirs.to(dtype)


def _torchvision_in_three_lines() -> SimpleNamespace:
    """diffusers resizes the padding mask with torchvision, which CPU builds of torch cannot import."""

    def resize(mask: Tensor, size: list[int], interpolation: str) -> Tensor:
        return F.interpolate(mask, size=size, mode=interpolation)

    modes = SimpleNamespace(NEAREST="nearest")
    return SimpleNamespace(functional=SimpleNamespace(resize=resize), InterpolationMode=modes)


def _insert_adapters(ours: DiffusionModel, theirs: nn.Module, seed: int) -> None:
    """LoRA on the same layers of both, with the same weights; outputs not zero, so that every gradient flows."""
    targets = diffusion.adapter_targets(ours)
    adapt(ours, AdapterConfig(train="lora", rank=LORA_RANK, alpha=LORA_RANK), targets=targets, condition=(), seed=seed)
    names = {name: diffusers_from_ours(f"{name}.weight").removesuffix(".weight") for name in targets}  # type: ignore[union-attr]
    theirs.requires_grad_(False)
    settings = peft.LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=list(names.values()))
    peft.inject_adapter_in_model(settings, theirs)
    with torch.no_grad():
        for name, other in names.items():
            mine, other_layer = ours.get_submodule(name), theirs.get_submodule(other)
            for part in ("lora_A", "lora_B"):
                weight = getattr(mine, part).default.weight
                if part == "lora_B":
                    nn.init.normal_(weight, std=0.02)
                getattr(other_layer, part).default.weight.copy_(weight)


def _our_loss(model: nn.Module, batch: Batch, text_BVLD: Tensor, per_frame: bool, seed: int) -> Callable[[int], Tensor]:
    condition = Condition(text_BVLD=text_BVLD)

    def one_level_per_frame(_: nn.Module, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x_BVTHWC, c_noise_B = given
        return x_BVTHWC, c_noise_B[:, None, None].expand(x_BVTHWC.shape[:3])

    def loss(number: int) -> Tensor:
        hook = model.get_submodule("net").register_forward_pre_hook(one_level_per_frame) if per_frame else None
        total, _ = diffusion.loss(model, batch, condition, generator(seed, number, "noise"), OBJECTIVE)
        if hook is not None:
            hook.remove()
        return total

    return loss


def _their_loss(model: Any, batch: Batch, text_BVLD: Tensor, per_frame: bool, seed: int) -> Callable[[int], Tensor]:
    clean = SD * batch.target[:, 0].movedim(-1, 1)  # diffusers' layout: B C T H W
    size, _, frames, height, width = clean.shape
    is_given = torch.zeros(1, 1, frames, 1, 1, dtype=torch.bool)
    is_given[:, :, :1] = True
    mask = is_given.to(text_BVLD.dtype).expand(size, 1, frames, height, width)
    padding = torch.zeros(1, 1, height, width, dtype=text_BVLD.dtype)
    text, fps = text_BVLD[:, 0], batch.fps_hz_B[0].item()

    def loss(number: int) -> Tensor:
        sigma, noise, augment, augment_noise = _draw(batch, generator(seed, number, "noise"))
        c_in = 1 / (sigma**2 + SD**2).sqrt()
        x = clean + sigma * noise
        shown = (clean + augment * augment_noise) / (augment**2 + SD**2).sqrt()
        seen = torch.where(is_given, shown, c_in * x).to(text.dtype)
        level = sigma.log() / 4
        level = level.expand(size, 1, frames, 1, 1) if per_frame else level.flatten()
        out = model(seen, level, text, fps=fps, condition_mask=mask, padding_mask=padding, return_dict=False)[0]
        x0 = SD**2 * c_in**2 * x + sigma * SD * c_in * out.float()
        x0 = torch.where(is_given, clean, x0)
        return ((x0 - clean) ** 2 * (sigma**2 + SD**2) / (sigma * SD) ** 2).mean()

    return loss


def _draw(batch: Batch, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The numbers that our loss draws, in its order, in diffusers' layout."""
    size = batch.size
    sigma = torch.randn(size, generator=draws).exp()
    noise = torch.randn(batch.target.shape, generator=draws)
    torch.randint(OBJECTIVE.num_observed_min, OBJECTIVE.num_observed_max + 1, (size,), generator=draws)
    torch.rand(size, generator=draws)
    augment = torch.randn(size, generator=draws) * OBJECTIVE.augment_sigma_p_std + OBJECTIVE.augment_sigma_p_mean
    augment_noise = torch.randn(batch.target.shape, generator=draws)
    over = (size, 1, 1, 1, 1)
    return sigma.view(over), noise[:, 0].movedim(-1, 1), augment.exp().view(over), augment_noise[:, 0].movedim(-1, 1)
