"""The training loop: one function that can be read aloud."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import derived_seed, generator
from worldtune.training.batches import rows
from worldtune.training.optim import OptimConfig, clip_gradients, learning_rate, set_learning_rate
from worldtune.training.parallel import Processes, communicate_gradients
from worldtune.training.precision import autocast
from worldtune.training.state import TrainState

Values = dict[str, float]
LossFn = Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how often."""

    steps: int = 200
    """Optimizer steps of the whole run."""
    batch_size: int = 8
    """Clips per optimizer step, over all processes."""
    accumulate: int = 1
    """Pieces in which a batch is computed one after another, to save memory."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the computation; weights are always fp32. auto: bf16 where the hardware has it; emulated it is far slower."""
    validate_every: int = 50
    """Steps between validations. 0: never."""
    validation_clips: int = 32
    """Held-out clips of one validation, at most."""
    checkpoint_every: int = 50
    """Steps between checkpoints; the last step always has one."""
    keep: int = 2
    """Checkpoints kept: the newest ones, and the one with the lowest validation loss besides."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "validation_clips", "checkpoint_every", "keep"):
            if vars(self)[name] < 1:
                raise ValueError(f"loop.{name} must be at least 1, got {vars(self)[name]}")
        if self.validate_every < 0:
            raise ValueError(f"loop.validate_every must not be negative, got {self.validate_every}")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"loop.batch_size {self.batch_size} cannot be cut into loop.accumulate {self.accumulate} equal pieces"
            )


def train(
    state: TrainState,
    batches: Callable[[int], Batch],
    loss_fn: LossFn,
    *,
    config: LoopConfig,
    optim: OptimConfig,
    precision: str,
    seed: int,
    where: Processes,
    report: Callable[[str, int, Values], None],
    validate: Callable[[], Values],
    save: Callable[[float | None], None],
) -> TrainState:
    """Train until `config.steps` steps are done, from wherever `state` is.

    `batches(step)` is this process's share of a batch. Batch, noise and dropout are functions of (seed, step), so a
    resumed run repeats exactly what an uninterrupted one does. Raises ValueError, having saved nothing new, when loss
    or gradient are not finite.
    """
    while state.step < config.steps:
        began = time.perf_counter()
        step, lr = state.step, learning_rate(optim, state.step, config.steps)
        torch.manual_seed(derived_seed(seed, step, f"dropout/{where.rank}"))
        set_learning_rate(state.optimizer, lr)

        batch = batches(step).to(where.device)
        values = _backward(state, batch, loss_fn, config.accumulate, precision, seed, where)
        grad_norm = clip_gradients(state.parameters, optim.clip_norm, step + 1)

        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.ema.update(state.step)

        seconds = time.perf_counter() - began
        speed = {"seconds": seconds, "tokens_per_s": num_tokens(batch) * where.size / seconds}
        report("train", state.step, {**values, "grad_norm": grad_norm, "lr": lr, **speed})

        is_last, validation_loss = state.step == config.steps, None
        if config.validate_every and (is_last or state.step % config.validate_every == 0):
            validation = validate()
            report("validation", state.step, validation)
            validation_loss = validation["loss"]
        if is_last or state.step % config.checkpoint_every == 0:
            save(validation_loss)
    return state


def _backward(
    state: TrainState, batch: Batch, loss_fn: LossFn, num_pieces: int, precision: str, seed: int, where: Processes
) -> Values:
    """Gradients of the mean loss, piece by piece; the loss and its parts, averaged over pieces and processes."""
    totals: list[Tensor] = []
    names: list[str] = []
    for number, piece in enumerate(_pieces(batch, num_pieces)):
        communicate_gradients(state.model, number == num_pieces - 1)
        noise = generator(seed, state.step, f"loss/{where.rank}/{number}")
        with autocast(precision, where.device):
            loss, parts = loss_fn(piece, noise)
        (loss / num_pieces).backward()
        names = ["loss", *parts]
        totals.append(torch.stack([value.detach().float() for value in (loss, *parts.values())]))
    means = where.mean(torch.stack(totals).mean(0)).tolist()
    values = dict(zip(names, means, strict=True))
    if not all(map(_finite, values.values())):
        raise ValueError(
            f"step {state.step + 1}: the loss is not finite ({values}) on clips {', '.join(batch.clip_ids)}"
        )
    return values


def _finite(value: float) -> bool:
    return abs(value) < float("inf")


def _pieces(batch: Batch, count: int) -> Iterator[Batch]:
    """Equal parts of a batch, in order. ValueError when it does not divide."""
    if batch.size % count:
        raise ValueError(f"a batch of {batch.size} clips per process cannot be cut into {count} equal pieces")
    size = batch.size // count
    return (rows(batch, start, start + size) for start in range(0, batch.size, size))


def num_tokens(batch: Batch) -> int:
    """Cells of the latent grid, or token ids, in a batch."""
    return batch.target.shape[:5].numel()
