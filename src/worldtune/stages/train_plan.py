"""What a training run will do, said before it does it; and what must hold before the first step."""

import dataclasses
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.markup import escape

from worldtune.contract.cache import Cache
from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch, Coverage
from worldtune.contract.randomness import generator
from worldtune.run import Run
from worldtune.stages.world import WorldModel, assemble, fit_controls
from worldtune.training import adapters, optim
from worldtune.training.parallel import Processes
from worldtune.training.precision import resolved_precision

TOLERANCE = 1e-5
"""Largest relative difference of the first loss from the base's: new columns of zeros may change the order of sums."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do."""

    run: Run
    coverage: Coverage
    num_clips: dict[str, int]
    """Clips of each split."""
    grid: tuple[int, ...]
    """Latent grid of a clip: views, frames, height, width."""
    num_parameters: int
    num_trained: int
    weight_bytes: int
    """Of all weights, as they are kept."""
    precision: str
    where: Processes

    def memory_bytes(self) -> dict[str, int]:
        """Memory of this process that does not depend on the batch. Optimizer: two fp32 numbers per trained weight."""
        average = self.num_trained if self.run.ema.std > 0 else 0
        parts = {
            "weights": self.weight_bytes,
            "gradients": 4 * self.num_trained,
            "optimizer": 8 * self.num_trained,
            "average": 4 * average,
        }
        return {name: size // self.where.size for name, size in parts.items()}

    def show(self, console: Console) -> None:
        """Print it."""
        run, loop = self.run, self.run.loop
        clips = ", ".join(f"{count} {split}" for split, count in self.num_clips.items())
        cells = torch.Size(self.grid).numel()
        epochs = loop.steps * loop.batch_size / self.num_clips["train"]
        warmup = optim.warmup_steps(run.optim, loop.steps)
        memory = self.memory_bytes()
        parts = " + ".join(f"{name} {_megabytes(size)}" for name, size in memory.items())
        for name, text in {
            "task": f"{run.task} ({', '.join(run.controls)}) on {run.base} ({run.family}), seed {run.seed}",
            "base weights": str(self.coverage),
            "clips": f"{clips}; latent grid [V,T,H,W] {list(self.grid)}, {cells:,} tokens each",
            "parameters": f"{self.num_parameters:,}, of which {self.num_trained:,} are trained ({run.adapter.train})",
            "steps": f"{loop.steps} of {loop.batch_size} clips in {loop.accumulate} pieces, {epochs:.1f} epochs",
            "rate": f"{run.optim.lr:g} ({run.optim.schedule}) after {warmup} steps of warm-up",
            "computed in": f"{self.precision} on {self.where.device}, {self.where.size} process(es)",
            "memory": f"{parts} = {_megabytes(sum(memory.values()))} per process, and activations on top",
        }.items():
            console.print(f"[bold]{name}[/]: {escape(text)}", highlight=False, soft_wrap=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def prepare_model(run: Run, cache: Cache, where: Processes) -> tuple[WorldModel, Plan]:
    """The assembled model with its adapters, and the plan.

    Raises ValueError when the base was not loaded, nothing is trainable, a split has no clip, or the schedule does not
    fit the run.
    """
    _require_clips(run, cache)
    world, coverage = assemble(run, cache)
    coverage.require_complete(run.base)
    if not coverage.matched:
        raise ValueError(f"{run.base}: the base was not loaded, not one of its tensors fits the network")
    fit_controls(world, cache)
    adapters.adapt(
        world,
        run.adapter,
        targets=[f"network.{name}" for name in world.family.adapter_targets(world.network)],
        condition=_condition_names(world, coverage),
        seed=run.seed,
    )
    optim.warmup_steps(run.optim, run.loop.steps)
    trained = optim.trainable(world)
    rows = [cache.info(index)["split"] for index in range(len(cache))]
    plan = Plan(
        run=run,
        coverage=coverage,
        num_clips={split: rows.count(split) for split in sorted({"train", *rows})},
        grid=cache.header.grid.shape,
        num_parameters=sum(parameter.numel() for parameter in world.parameters()),
        num_trained=sum(parameter.numel() for parameter in trained.values()),
        weight_bytes=sum(parameter.nbytes for parameter in world.parameters()),
        precision=resolved_precision(run.loop.precision, where.device),
        where=where,
    )
    return world, plan


def _require_clips(run: Run, cache: Cache) -> None:
    cache.indices("train")
    if run.loop.validate_every and not any(cache.info(index)["split"] == "val" for index in range(len(cache))):
        raise ValueError(
            f"{cache.folder}: no clip is held out (split val) to validate with; record more episodes, or train without "
            "validation: --set loop.validate_every=0"
        )


def _condition_names(world: WorldModel, coverage: Coverage) -> list[str]:
    """Parameters that carry the controls: their encoders, and what the network grew for them."""
    names = dict(world.named_parameters())
    grown = {f"network.{name}" for name in (*coverage.new_and_zero, *coverage.reshaped)}
    return [name for name in names if name.startswith("controls.") or name in grown]


@torch.no_grad()
def require_base_loss(world: WorldModel, cache: Cache, batch: Batch) -> float:
    """The loss before training. ValueError unless it is the base's own for the same clips and noise.

    The base's own is computed by a second network that has none of the task's controls but text, which every base
    was pre-trained with, and is told what it knows as a released network. A difference means that a control does not
    start at zero or that weights got lost.
    """
    plain_run = dataclasses.replace(world.run, controls=tuple(name for name in world.run.controls if name == "text"))
    plain, _ = assemble(plain_run, cache)
    condition = world.condition(batch, {})
    known = dataclasses.replace(plain.condition(batch, {}), released=condition.released)
    got, wanted = _first_loss(world, batch, condition), _first_loss(plain, batch, known)
    if not abs(got - wanted) <= TOLERANCE * max(abs(wanted), 1.0):
        raise ValueError(
            f"the loss before the first step is {got:.6f}, but the base's own is {wanted:.6f} for the same clips and "
            f"noise: the {', '.join(world.run.controls)} controls do not start at zero, or the base is not loaded"
        )
    return got


def _first_loss(world: WorldModel, batch: Batch, condition: Condition) -> float:
    """With no control dropped, and always the same noise."""
    noise = generator(world.run.seed, 0, "start")
    world.eval()
    loss, _ = world.family.loss(world.network, batch, condition, noise, world.run.objective)
    world.train()
    return loss.item()
