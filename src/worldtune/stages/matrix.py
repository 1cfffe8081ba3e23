"""`worldtune matrix`: every task on every shipped base, start to report, on the samples; one table at the end.

Each stage continues where it was killed, so the same command finishes a matrix that was cut off. A cell that fails does
not stop the others: it is named in the table, and the command ends with exit code 1.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Column, Table

from worldtune import tasks
from worldtune.contract.cache import Cache
from worldtune.contract.files import write_json
from worldtune.report.tables import interval, number
from worldtune.run import compose
from worldtune.stages.base import Base, find_base
from worldtune.stages.evaluate import evaluate
from worldtune.stages.generate import generate
from worldtune.stages.matrix_index import cell_folder, write_index
from worldtune.stages.prepare import prepare
from worldtune.stages.train import train

_OBEYING = ("real", "post-trained", "shuffled", "base")
"""Columns of a report that are compared in how far they obey."""


MOST_STEPS = {"diffusion": 2000, "autoregressive": 700}
"""Of a cell: some ten to twenty minutes on one core."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a task is shown on the shipped samples."""

    sample: str
    """Dataset in the folder of samples."""
    epochs: Mapping[str, float]
    """How often each training clip is seen, by family: the same plan suits few clips and many."""
    most_steps: Mapping[str, int] = field(default_factory=lambda: MOST_STEPS)
    """By family, however many clips there are."""
    num_clips: int
    """Held-out clips of every seed."""
    window: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the base's own window."""
    settings: tuple[str, ...] = ()
    """Settings that suit the sample, as "a.b=c"."""

    def steps(self, family: str, num_train: int, batch_size: int) -> int:
        """How long to train on so many clips."""
        return max(1, min(round(self.epochs[family] * num_train / batch_size), self.most_steps[family]))


def _epochs(diffusion: float, autoregressive: float) -> dict[str, float]:
    """The nano transformer knows a few hundred clips by heart after a third of the steps that suit the DiT."""
    return {"diffusion": diffusion, "autoregressive": autoregressive}


REACH = ("control.action.reach=true",)
"""The tabletop records where the gripper is: small networks follow actions in the robot's axes much sooner."""

PLANS: dict[str, Plan] = {
    "general": Plan(sample="tabletop-heldout", epochs=_epochs(24, 7.7), num_clips=48),
    "instruction": Plan(sample="tabletop", epochs=_epochs(16, 9.4), num_clips=120, window={"fps_hz": 5.0}),
    "action": Plan(
        sample="tabletop",
        epochs=_epochs(9, 7),
        most_steps={"diffusion": 2000, "autoregressive": 4500},
        num_clips=48,
        window={"stride": 8},
        settings=REACH,
    ),
    "camera": Plan(
        sample="rooms",
        epochs=_epochs(26.8, 3.52),
        most_steps={"diffusion": 10000, "autoregressive": 1000},
        num_clips=48,
        window={"stride": 8},
    ),
    "multiview": Plan(
        sample="street",
        epochs=_epochs(12, 4),
        most_steps={"diffusion": 800, "autoregressive": 240},
        num_clips=32,
        window={"stride": 8},
    ),
    "multiview_trajectory": Plan(
        sample="street",
        epochs=_epochs(19, 6),
        most_steps={"diffusion": 2000, "autoregressive": 560},
        num_clips=32,
        window={"stride": 8},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One task on one base."""

    task: str
    base: str
    report: dict[str, Any] | None
    """report.json, or None when the cell failed."""
    failure: str = ""


def matrix(
    samples: Path,
    out: Path,
    *,
    task_names: Sequence[str],
    bases: Sequence[str],
    seeds: Sequence[int],
    results: Path | None = None,
    steps: int | None = None,
    num_clips: int | None = None,
    assignments: Sequence[str] = (),
) -> list[Cell]:
    """Run the cells, print the table, and keep OUT/index.html, which shows every cell with the way to its report.

    results: folder that gets every report as TASK-FAMILY.json. steps, num_clips, assignments: instead of, or after,
    what the plans say. ValueError, before anything is run, for a task or base that does not exist, and for results of
    two bases of one family.
    """
    console, cells = Console(), []
    found = [find_base(base) for base in bases]
    for name in task_names:
        tasks.find(name)
    for family, number_of in Counter(base.family for base in found).items():
        if results is not None and number_of > 1:
            raise ValueError(
                f"--results keeps TASK-{family}.json, and {number_of} bases are {family}: give one of them"
            )
    for name in task_names:
        for base in found:
            console.rule(f"{name} on {base.name}")
            try:
                path = run_cell(name, base, samples, out, seeds, steps, num_clips, assignments)
                report = json.loads(path.read_text())
                cells.append(Cell(task=name, base=base.name, report=report))
                if results is not None:
                    write_json(results / f"{name}-{base.family}.json", report)
            except ValueError as error:
                console.print(f"[red]failed:[/] {escape(str(error))}", soft_wrap=True)
                cells.append(Cell(task=name, base=base.name, report=None, failure=str(error)))
            failures = {(cell.task, cell.base): cell.failure for cell in cells if cell.report is None}
            index = write_index(out, [base.name for base in found], failures)
    console.print(as_table(cells))
    console.print(f"overview: {index}", soft_wrap=True)
    return cells


def run_cell(
    name: str,
    base: Base,
    samples: Path,
    out: Path,
    seeds: Sequence[int],
    steps: int | None,
    num_clips: int | None,
    assignments: Sequence[str],
) -> Path:
    """One cell from dataset to report; the path of report.json."""
    plan = PLANS[name]
    folder = cell_folder(out, name, base.name)
    controls = tasks.find(name).controls
    cache = prepare(samples / plan.sample, folder / "cache", base, controls=controls, window=plan.window)
    num_train, made = len(Cache.open(cache).indices("train")), []
    for seed in seeds:
        words = [*plan.settings, *assignments]
        run = compose(task=name, base=base, data=cache, seed=seed, assignments=words)
        wanted = steps or plan.steps(base.family, num_train, run.loop.batch_size)
        train(replace(run, loop=replace(run.loop, steps=wanted)), folder / f"run-{seed}")
        clips = folder / f"clips-{seed}"
        made.append(generate(folder / f"run-{seed}", cache, clips, num_clips=num_clips or plan.num_clips, seed=seed))
        shutil.rmtree(folder / f"run-{seed}" / "checkpoints", ignore_errors=True)
    return evaluate(made, folder / "report").with_suffix(".json")


def as_table(cells: Sequence[Cell]) -> Group:
    """PSNR of every cell against base and shuffled control, then what is obeyed, then failures: for 80 columns."""
    which = [Column("task, base", overflow="fold") for _ in range(2)]
    measure = Column("obedience", overflow="fold", max_width=16)
    obeying = [Column(name.replace("-", "-\n"), justify="right") for name in _OBEYING]
    psnr = Table(which[0], "PSNR, dB\nbase -> trained", "over base, dB", "over shuffled", show_lines=True)
    obeyed = Table(which[1], measure, *obeying, show_lines=True)
    failures = []
    for cell in cells:
        name = f"{cell.task}\n{cell.base}"
        if cell.report is None:
            psnr.add_row(name, "[red]failed[/]")
            failures.append(f"[red]failed:[/] {cell.task} on {cell.base}: {escape(cell.failure)}")
            continue
        values = cell.report["values"]
        db = {column: f"{of_one['psnr_db']['value']:.2f}" for column, of_one in values.items() if "psnr_db" in of_one}
        gaps = {row["right"]: row["values"]["psnr_db"] for row in cell.report["differences"]}
        told = f"{db['base']} -> {db['post-trained']}\ncopy {db['copy']}\ncodec {db['codec']}"
        psnr.add_row(name, told, *(_gap(gaps.get(right)) for right in ("base", "shuffled")))
        for label, numbers in _obedience(cell.report):
            obeyed.add_row(name, label, *(numbers.get(column, "-") for column in _OBEYING))
    return Group(psnr, *([obeyed] if obeyed.row_count else []), *failures)


def _gap(pooled: Mapping[str, Any] | None) -> str:
    if pooled is None:
        return "-"
    return f"{number(pooled['value'], 2, signed=True)}\n{interval(pooled, 2, signed=True)}".rstrip()


def obedience(report: Mapping[str, Any]) -> list[str]:
    """One line for the first measure of every control that offers one: real clips, post-trained, shuffled, base."""
    return [
        f"{label}: {', '.join(f'{column} {value}' for column, value in numbers.items())}"
        for label, numbers in _obedience(report)
    ]


def _obedience(report: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Label of the first measure of every control that offers one, and its number by column."""
    found = []
    for reader in report.get("obedience", {}).values():
        name = reader["measures"][0]
        measure = report["measures"][name]
        numbers = {
            column: f"{report['values'][column][name]['value']:.{measure['decimals']}f}"
            for column in _OBEYING
            if name in report["values"].get(column, {})
        }
        found.append((measure["label"], numbers))
    return found
