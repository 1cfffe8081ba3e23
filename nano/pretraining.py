"""Pre-training of either family: worldtune's own loop in one process, with validation, checkpoints and an ETA."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nano.windows import balanced, held_out_batch
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.training import checkpoint
from worldtune.training.ema import EmaConfig
from worldtune.training.loop import LoopConfig, train
from worldtune.training.optim import OptimConfig
from worldtune.training.parallel import Processes
from worldtune.training.precision import resolved_precision
from worldtune.training.state import TrainState

LossFn = Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a network is pre-trained."""

    folder: Path
    """Checkpoints go to `checkpoints` in it."""
    steps: int
    batch_size: int
    optim: OptimConfig
    report_every: int = 20
    save_every: int = 200
    """Steps between checkpoints, and between validations."""
    validation_clips: int = 96


def pretrain(
    model: nn.Module, loss_of: LossFn, data: dict[str, Tensor], held_out: dict[str, Tensor], plan: Plan
) -> dict[str, float]:
    """`pretrain_on` encoded windows: all worlds equally often, judged by the loss of the same held-out ones."""

    def validate() -> dict[str, float]:
        with torch.no_grad():
            loss, parts = loss_of(held_out_batch(held_out, plan.validation_clips), generator(1, 1, "validation"))
        return {"loss": float(loss), **{name: float(value) for name, value in parts.items()}}

    return pretrain_on(lambda step: balanced(data, 0, step, plan.batch_size), model, loss_of, validate, plan)


def pretrain_on(
    batches: Callable[[int], Batch],
    model: nn.Module,
    loss_of: LossFn,
    validate: Callable[[], dict[str, float]],
    plan: Plan,
) -> dict[str, float]:
    """Train from the newest checkpoint to the end; the model then has the averaged weights. The last validation.

    `batches(step)` is the batch of a step; `validate()` judges the model and has a "loss".
    """
    state = TrainState.fresh(model, plan.optim, EmaConfig(std=0.05))
    if newest := checkpoint.latest(plan.folder / "checkpoints"):
        checkpoint.load(newest, state, where=Processes())
    measured: dict[str, float] = {}
    started, first = time.monotonic(), state.step

    def report(kind: str, step: int, values: dict[str, float]) -> None:
        if kind == "validation":
            measured.update(values)
        if kind == "validation" or step % plan.report_every == 0:
            eta_min = (time.monotonic() - started) / max(1, step - first) * (plan.steps - step) / 60
            parts = " ".join(f"{name} {value:.4f}" for name, value in values.items())
            print(f"{kind} step {step} {parts} ETA {eta_min:.0f} min", flush=True)

    def save(validation_loss: float | None) -> None:
        checkpoint.save(plan.folder / "checkpoints", state, where=Processes(), validation_loss=validation_loss, keep=1)

    train(
        state,
        batches,
        loss_of,
        config=LoopConfig(
            steps=plan.steps,
            batch_size=plan.batch_size,
            validate_every=plan.save_every,
            checkpoint_every=plan.save_every,
        ),
        optim=plan.optim,
        precision=resolved_precision("auto", torch.device("cpu")),
        seed=0,
        where=Processes(),
        report=report,
        validate=validate,
        save=save,
    )
    model.load_state_dict(state.averaged_weights())
    return measured
