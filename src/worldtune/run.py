"""Run: one post-training, fully described. Task + base + data + settings, frozen, written as run.json."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldtune import settings, tasks
from worldtune.contract import rooms
from worldtune.contract.errors import suggest
from worldtune.contract.files import read_json, write_json
from worldtune.stages.base import Base
from worldtune.training.adapters import AdapterConfig
from worldtune.training.ema import EmaConfig
from worldtune.training.loop import LoopConfig
from worldtune.training.optim import OptimConfig
from worldtune.training.parallel import ParallelConfig


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that decides the result of a training run, besides the data and the base weights."""

    task: str
    """One of the six tasks."""
    controls: tuple[str, ...]
    """Control rooms; the task's own unless the user composes."""
    base: str
    """As given to --base."""
    codec: str | None = None
    """Where the codec is, when the base does not bring it."""
    text_encoder: str | None = None
    """Where the text encoder is, when the base does not bring it."""
    family: str
    """Family of the base."""
    data: str
    """Cache folder."""
    seed: int = 0
    """Decides data order, noise and dropout, together with the step."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    objective: Any
    """The family's Objective."""
    sampler: Any
    """The family's Sampler: how `generate` draws from this run."""
    control: dict[str, Any]
    """Settings of each control room."""

    @property
    def codec_path(self) -> Path | None:
        """`codec` as a path."""
        return None if self.codec is None else Path(self.codec)

    @property
    def text_encoder_path(self) -> Path | None:
        """`text_encoder` as a path."""
        return None if self.text_encoder is None else Path(self.text_encoder)


def compose(
    *,
    task: str,
    base: Base,
    data: Path,
    controls: Sequence[str] | None = None,
    codec: str | None = None,
    text_encoder: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    lora: bool = False,
    assignments: Sequence[str] = (),
) -> Run:
    """The family's defaults, what suits base and task, the command line's words, every `--set`.

    ValueError on bad values.
    """
    names = tuple(controls) if controls else tasks.find(task).controls
    known = rooms.names("controls")
    for name in names:
        if name not in known:
            raise ValueError(f"task {task} needs the control {name!r}, which is not built yet: {suggest(name, known)}")
    family = rooms.load("families", base.family)
    run = Run(
        task=task,
        controls=names,
        base=base.name,
        codec=codec,
        text_encoder=text_encoder,
        family=base.family,
        data=str(data),
        seed=seed,
        objective=family.Objective(),
        sampler=family.Sampler(),
        control={name: rooms.load("controls", name).Config() for name in names},
    )
    for assignment in (*base.settings, *base.task_settings.get(task, ())):
        run = settings.replace(run, assignment)
    if steps is not None:
        run = settings.replace(run, f"loop.steps={steps}")
    if lora:
        run = settings.replace(run, "adapter.train=lora")
    for assignment in assignments:
        run = settings.replace(run, assignment)
    return run


def save_run(run: Run, folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write run.json; `extra` (commit, machine, cache key ...) is kept beside the run, under its own key."""
    write_json(folder / "run.json", {"run": settings.to_json(run), "made": extra or {}})


def load_run(folder: Path) -> Run:
    """Read run.json. ValueError naming the file and key when it is absent or does not fit."""
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder}: not a run (no run.json); train one with `worldtune train`")
    written = read_json(path)
    value = dict(written["run"]) if isinstance(written, dict) and isinstance(written.get("run"), dict) else {}
    wanted = [item.name for item in dataclasses.fields(Run) if item.default is dataclasses.MISSING]
    if missing := [name for name in wanted if name not in value]:
        raise ValueError(f"{path}: not a run of this version, it has no {', '.join(missing[:3])}")
    family = rooms.load("families", value["family"])
    hints = {"loop": LoopConfig, "optim": OptimConfig, "ema": EmaConfig, "adapter": AdapterConfig}
    hints |= {"parallel": ParallelConfig, "objective": family.Objective, "sampler": family.Sampler}
    for name, kind in hints.items():
        value[name] = settings.from_json(kind, value[name], f"{path}: {name}")
    value["control"] = {
        name: settings.from_json(rooms.load("controls", name).Config, item, f"{path}: control.{name}")
        for name, item in value["control"].items()
    }
    value["controls"] = tuple(value["controls"])
    return Run(**value)


def sampler_with(run: Run, assignments: Sequence[str]) -> Any:
    """The run's sampler with some settings changed, "guidance=1" or, as for training, "sampler.guidance=1"."""
    sampler = run.sampler
    for assignment in assignments:
        sampler = settings.replace(sampler, assignment.strip().removeprefix("sampler."))
    return sampler


def difference(one: Run, other: Run) -> list[str]:
    """Dotted names of the settings in which two runs differ; of other controls or another family, only that."""

    def flat(value: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        return {key: item for name, part in value.items() for key, item in flat(part, f"{prefix}.{name}").items()}

    mine, theirs = flat(dataclasses.asdict(one), "run"), flat(dataclasses.asdict(other), "run")
    names = sorted(mine.keys() | theirs.keys())
    follow = "run.control." if one.controls != other.controls else ""
    rooms_apart = ("run.objective.", "run.sampler.", follow) if one.family != other.family else (follow,)
    return [
        name.removeprefix("run.")
        for name in names
        if not name.startswith(tuple(filter(None, rooms_apart))) and mine[name] != theirs[name]
    ]
