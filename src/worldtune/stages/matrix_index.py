"""The overview of a matrix: index.html in its folder, with a card for every cell and the way to its report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from worldtune.contract.files import read_json, write_whole
from worldtune.report.index import Card, render_index
from worldtune.report.page import ShownClip
from worldtune.stages.base import shipped
from worldtune.stages.evaluate import shown_clip
from worldtune.stages.made_clips import REAL, MadeSet
from worldtune.tasks import TASKS

SHOWN = (REAL, "post-trained")
"""Columns of a card's film."""


def cell_folder(out: Path, task: str, base: str) -> Path:
    """Where a cell is. A base may be a folder: its own name counts, not the way to it."""
    return out / f"{task}-{Path(base).resolve().name}"


def write_index(out: Path, bases: Sequence[str], failures: Mapping[tuple[str, str], str]) -> Path:
    """Write OUT/index.html: all tasks on these bases, and on shipped ones that have a cell there.

    failures: (task, base) -> why a cell has no report. Cells that were not run say so.
    """
    others = [base for base in shipped() if any(cell_folder(out, task, base).exists() for task in TASKS)]
    cards = []
    for task in TASKS:
        for base in dict.fromkeys([*bases, *others]):
            failure = failures.get((task, base))
            cards.append(_failed(task, base, failure) if failure else _card(task, base, cell_folder(out, task, base)))
    count = sum(bool(card.link) for card in cards)
    page = render_index(
        "Matrix",
        f"{count} of {len(cards)} cells have a report. One held-out clip of each, the truth beside the post-trained "
        "model, in step; not picked: the first.",
        {name: task.summary for name, task in TASKS.items()},
        cards,
    )
    with write_whole(out / "index.html") as temporary:
        temporary.write_text(page)
    return out / "index.html"


def _failed(task: str, base: str, reason: str) -> Card:
    return Card(task=task, base=Path(base).name, link="", lines=[f"Failed: {reason}"])


def _card(task: str, base: str, cell: Path) -> Card:
    if not (cell / "report" / "report.html").exists():
        return Card(task=task, base=Path(base).name, link="", lines=["Not yet."])
    report = read_json(cell / "report" / "report.json")
    return Card(
        task=task,
        base=Path(base).name,
        link=f"{cell.name}/report/report.html",
        lines=report["verdict"],
        clip=_film(sorted(cell.glob("clips-*"))),
    )


def _film(made: Sequence[Path]) -> ShownClip | None:
    """The first clip of the first seed; None when the clips are gone."""
    if not made:
        return None
    found = MadeSet.open(made[0])
    shown = shown_clip(found, 0, [name for name in SHOWN if name in found.columns], {})
    return replace(shown, text="", foreign_text="")
