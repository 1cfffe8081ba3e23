"""What every cell must show and where it stands, out of committed results: `python -m recipes.bars [--check]`.

Rewrites docs/bars.md between its two marks, or with --check exits 1 when the page is out of date.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.table import END, FAMILIES, ROOT, rewritten
from recipes.table import gain as told
from worldtune.report.tables import counted

BEGIN = "<!-- table: python -m recipes.bars -->"
Report = dict[str, Any]
Bar = Callable[[Report], tuple[str, bool]]
"""Report -> what was measured, and whether the bar is reached."""


def gain(over: str, least_db: float) -> Bar:
    """PSNR over another column: the mean at least, with its interval. 0 asks for an interval above 0."""

    def judge(report: Report) -> tuple[str, bool]:
        found = next(row["values"]["psnr_db"] for row in report["differences"] if row["right"] == over)
        reached = found["value"] >= least_db if least_db else found["low"] > 0
        return f"{told(found)} dB over {over}", reached

    return judge


def at_most(measure: str, factor: float, column: str) -> Bar:
    """A measure of the post-trained model, at most so many times that of another column.

    Where real clips that only pass through the codec are above the bar, that is said.
    """

    def judge(report: Report) -> tuple[str, bool]:
        made, other, codec = (report["values"][name][measure]["value"] for name in ("post-trained", column, "codec"))
        label = report["measures"][measure]["label"]
        text = f"{label}: {made:.3g}, {made / other:.2f} times {column} ({other:.3g})"
        if codec > factor * other:
            text += f"; real clips through the codec have {codec:.3g}, {codec / other:.2f} times"
        return text, made <= factor * other

    return judge


def apart(measure: str) -> Bar:
    """The interval of a measure lies above that under another clip's control."""

    def judge(report: Report) -> tuple[str, bool]:
        own, foreign = (report["values"][column][measure] for column in ("post-trained", "shuffled"))
        label, reached = report["measures"][measure]["label"], own["low"] > foreign["high"]
        return f"{label}: {bracketed(own)} against shuffled {bracketed(foreign)}", reached

    return judge


def above(measure: str, least: float) -> Bar:
    """The interval of a measure lies above this."""

    def judge(report: Report) -> tuple[str, bool]:
        found = report["values"]["post-trained"][measure]
        label = report["measures"][measure]["label"]
        return f"{label}: {bracketed(found)}", found["low"] > least

    return judge


def bracketed(found: dict[str, float]) -> str:
    """A mean with its interval."""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def camera_bars(rotation: str, position: str, how: str) -> dict[str, Bar]:
    """What a camera path must show, by one of the two ways to read it."""
    bars = {}
    for name, measure in (("rotation", rotation), ("position", position)):
        bars[f"{name} at most a third of the base's{how}"] = at_most(measure, 1 / 3, "base")
        bars[f"{name} at most 2 times real{how}"] = at_most(measure, 2, "real")
    return bars


BARS: dict[str, dict[str, Bar]] = {  # by the name of the report, which begins with the task
    "general": {"better than the base": gain("base", 0)},
    "instruction": {
        "better than under another text": gain("shuffled", 0),
        "a probe names the instruction more often than under another text, intervals apart": apart("text_named"),
    },
    "action": {
        "2 dB over shuffled actions": gain("shuffled", 2),
        "2 dB over the base": gain("base", 2),
        "inverse dynamics at most 1.5 times real": at_most("action_error_std", 1.5, "real"),
    },
    "camera": {
        "2 dB over shuffled paths": gain("shuffled", 2),
        **camera_bars("odometry_rotation_deg", "odometry_position_m", ""),
        **camera_bars("camera_path_rotation_deg", "camera_path_translation_m", ", read by a probe"),
    },
    "multiview": {
        "cross-view error at most 1.25 times real": at_most("cross_view_error", 1.25, "real"),
        "exchanged cameras are noticed more often than by chance": above("exchange_noticed", 0.5),
    },
    "multiview-captions": {
        "without any frame, a probe names captions more often than under others, intervals apart": apart("text_named"),
    },
    "multiview_trajectory": {
        "trajectory-following error at most 1.5 times real": at_most("tfe_m", 1.5, "real"),
        "at most half of that without trajectory": at_most("tfe_m", 0.5, "base"),
    },
}


def rows() -> list[str]:
    """Markdown of every bar of every cell."""
    found = []
    for report, bars in BARS.items():
        task = report.partition("-")[0]
        for name, bar in bars.items():
            cells = [judged(ROOT / "results" / f"{report}-{family}.json", bar) for family in FAMILIES]
            found.append(f"| {task} | {name} | {' | '.join(cells)} |")
    return found


def judged(path: Path, bar: Bar) -> str:
    """One cell of the table."""
    if not path.exists():
        return "not yet"
    report = json.loads(path.read_text())
    try:
        text, reached = bar(report)
    except KeyError as missing:
        return f"**not measured**: the report has no {missing}"
    return f"{'reached' if reached else '**missed**'}: {text}; {counted(report['num_seeds'], 'seed')}"


def main() -> None:
    """Rewrite the page's table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    table = [BEGIN, "| task | must hold | diffusion | autoregressive |", "|---|---|---|---|", *rows(), END]
    rewritten(ROOT / "docs" / "bars.md", "\n".join(table), check=parser.parse_args().check)


if __name__ == "__main__":
    main()
