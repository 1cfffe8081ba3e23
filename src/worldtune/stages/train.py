"""Train: a cache in, a run out. Killed at any moment, the same command continues.

A run folder holds run.json, metrics.jsonl, tensorboard/, checkpoints/ and, when it is finished, weights/ with
raw.safetensors and ema.safetensors: the whole model, adapters merged.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import save_file

from worldtune import settings
from worldtune.contract.cache import Cache
from worldtune.contract.files import file_hash, read_json, write_whole
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.run import Run, difference, load_run, save_run
from worldtune.stages.provenance import circumstances
from worldtune.stages.train_plan import Plan, prepare_model, require_base_loss
from worldtune.stages.world import WorldModel, weights_path
from worldtune.training import checkpoint, loop
from worldtune.training.batches import Clips, ReadAhead, training_batches
from worldtune.training.log import Live, MetricsLog
from worldtune.training.parallel import Processes, processes, wrap
from worldtune.training.state import TrainState
from worldtune.training.validate import validation_losses

_LOCK = ".lock"


def train(run: Run, out: Path, *, dry_run: bool = False) -> Path:
    """Start, continue or extend the run in `out`; return `out`. A dry run prints settings and plan and writes nothing.

    Raises ValueError when the folder holds a run with other settings (naming them), when another process trains in
    it, and for everything that would make training pointless: see `train_plan`.
    """
    cache = Cache.open(Path(run.data))
    with processes() as where, _deterministic(where):
        console = Console(quiet=not where.is_first)
        if dry_run:
            _, plan = prepare_model(run, cache, where)
            console.print_json(json.dumps(settings.to_json(run)))
            plan.show(console)
            return out
        with _claimed(run, out, cache, where):
            if _finished_step(out) == run.loop.steps:
                console.print(f"{out}: this run is finished ({run.loop.steps} steps); nothing to do")
                return out
            world, plan = prepare_model(run, cache, where)
            plan.show(console)
            state = _started(world, plan, out, cache, console)
            if where.is_first:
                _describe(run, out, cache)
            _run_loop(world, state, plan, out, cache, console)
            _write_weights(state, out, where)
    console.print(f"run: {out}")
    return out


@contextmanager
def _deterministic(where: Processes) -> Iterator[None]:
    """On the CPU a run repeats itself bit for bit; on GPUs that would cost too much speed."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(where.device.type == "cpu")
    # Filling fresh memory with NaN finds bugs, not differences, and costs time at every allocation.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]  # type: ignore[attr-defined]


@contextmanager
def _claimed(run: Run, out: Path, cache: Cache, where: Processes) -> Iterator[None]:
    """Hold the folder for ourselves, and agree with what it holds already."""
    if not where.is_first:
        where.barrier()
        yield
        return
    if out.exists() and {path.name for path in out.iterdir()} - {_LOCK} and not (out / "run.json").exists():
        raise ValueError(f"{out}: not empty and not a run; choose another folder")
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with (out / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{out}: another process is training in this folder") from None
        try:
            _agree(run, out, cache)
            where.barrier()
            yield
        finally:
            if not (out / "run.json").exists():
                (out / _LOCK).unlink()
                if is_new:
                    out.rmdir()


def _agree(run: Run, out: Path, cache: Cache) -> None:
    """Compare with the run in the folder, if there is one."""
    if not (out / "run.json").exists():
        return
    old = load_run(out)
    changed = difference(old, run)
    if changed == ["loop.steps"]:
        _require_extension(old, run, out)
    elif changed:
        raise ValueError(
            f"{out}: holds a run with another {', '.join(changed)}; give the same settings to continue it, or "
            "choose another folder"
        )
    if read_json(out / "run.json")["made"]["cache"] != _cache_identity(cache):
        raise ValueError(f"{out}: the cache {cache.folder} has changed since this run began")


def _describe(run: Run, out: Path, cache: Cache) -> None:
    """Write run.json, once nothing speaks against the run any more."""
    if not (out / "run.json").exists() or difference(load_run(out), run):
        save_run(run, out, {**circumstances(), "cache": _cache_identity(cache)})


def _require_extension(old: Run, new: Run, out: Path) -> None:
    before, after = old.loop.steps, new.loop.steps
    if after < before:
        raise ValueError(f"{out}: holds a run of {before} steps, which cannot be cut to loop.steps {after}")
    if old.optim.schedule != "constant":
        raise ValueError(
            f"{out}: loop.steps cannot grow from {before} to {after}, since the {old.optim.schedule} schedule was "
            "planned to end there; only optim.schedule=constant can be extended"
        )


def _cache_identity(cache: Cache) -> str:
    return file_hash(cache.folder / "header.json")[:16] + file_hash(cache.folder / "index.json")[:16]


def _started(world: WorldModel, plan: Plan, out: Path, cache: Cache, console: Console) -> TrainState:
    """The state to go on from: the newest checkpoint, else the base, whose loss is checked."""
    run, where = plan.run, plan.where
    newest = checkpoint.latest(out / "checkpoints")
    if newest is None:
        clips = Clips(cache, ("text", *run.controls))
        first = require_base_loss(world, cache, clips.batch(cache.indices("train")[:2]))
        console.print(f"loss before training, equal to the base's own: {first:.4f}")
    units = world.family.wrap_units(world.network)
    wrap(world, units, run.parallel, where, entry="loss", bf16=plan.precision == "bf16")
    state = TrainState.fresh(world, run.optim, run.ema)
    if newest is not None:
        checkpoint.load(newest, state, where=where)
        console.print(f"continuing from step {state.step} ({newest})")
    return state


def _run_loop(world: WorldModel, state: TrainState, plan: Plan, out: Path, cache: Cache, console: Console) -> None:
    run, where, folder = plan.run, plan.where, out / "checkpoints"
    clips = Clips(cache, ("text", *run.controls))
    batches = _batches(clips, cache, run, where)
    log = MetricsLog(out, state.step) if where.is_first else None
    live = Live(run.loop.steps, state.step, console)

    def report(kind: str, step: int, values: dict[str, float]) -> None:
        if log is not None:
            log.row(kind, step, values)
            live.show(kind, step, values)

    def validate() -> dict[str, float]:
        held_out = _held_out(clips, cache, run, where)
        return validation_losses(
            state, held_out, world.loss, controls=run.controls, precision=plan.precision, seed=run.seed, where=where
        )

    def save(validation_loss: float | None) -> None:
        if log is not None:
            log.flush()
        checkpoint.save(folder, state, where=where, validation_loss=validation_loss, keep=run.loop.keep)

    try:
        with live:
            if run.loop.validate_every and state.step == 0:
                report("validation", 0, validate())
            loop.train(
                state,
                batches,
                world.loss,
                config=run.loop,
                optim=run.optim,
                precision=plan.precision,
                seed=run.seed,
                where=where,
                report=report,
                validate=validate,
                save=save,
            )
    except KeyboardInterrupt:
        newest = checkpoint.latest(folder) or "the start"
        console.print(f"stopped after step {state.step}; the same command continues from {newest}")
        raise
    finally:
        batches.close()
        if log is not None:
            log.close()


def _batches(clips: Clips, cache: Cache, run: Run, where: Processes) -> ReadAhead:
    indices, size = cache.indices("train"), run.loop.batch_size
    return ReadAhead(
        training_batches(clips, indices, seed=run.seed, batch_size=size, rank=where.rank, num_ranks=where.size)
    )


def _held_out(clips: Clips, cache: Cache, run: Run, where: Processes) -> Iterator[Batch]:
    """Evenly spread held-out clips in batches of at least two, every process the same number.

    Neighbours are alike, so they are mixed: else a clip's foreign control would often be nearly its own.
    """
    indices = cache.indices("val")
    count = min(run.loop.validation_clips, len(indices)) // where.size * where.size
    if not count:
        raise ValueError(f"{cache.folder}: fewer held-out clips than processes; set loop.validate_every=0")
    mixed = torch.randperm(count, generator=generator(0, 0, "held-out clips")).tolist()
    chosen = [indices[place * len(indices) // count] for place in mixed][where.rank :: where.size]
    size = max(2, run.loop.batch_size // (run.loop.accumulate * where.size))
    return (clips.batch(chosen[start : start + size]) for start in range(0, len(chosen), size))


def _finished_step(out: Path) -> int | None:
    """Steps of the weights that a finished run has."""
    if not (out / "weights").exists():
        return None
    with safe_open(weights_path(out, "raw"), framework="pt") as stream:
        return int(stream.metadata()["step"])


def _write_weights(state: TrainState, out: Path, where: Processes) -> None:
    """The whole model, once with the trained weights and once with their average."""
    versions = {"raw": state.weights(), "ema": state.averaged_weights()}
    if where.is_first:
        with write_whole(out / "weights") as temporary:
            temporary.mkdir()
            for name, weights in versions.items():
                tensors = {key: value.contiguous() for key, value in weights.items()}
                save_file(tensors, temporary / f"{name}.safetensors", {"step": str(state.step)})
