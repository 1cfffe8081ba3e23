"""The README's table of twelve cells, generated from committed results: `python -m recipes.table [--check]`.

A cell is `results/<task>-<family>.json`, the report.json of `worldtune evaluate` on three seeds; without one the cell
says "not yet".
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from worldtune.report.tables import counted
from worldtune.stages.matrix import obedience
from worldtune.tasks import TASKS

ROOT = Path(__file__).parents[1]
FAMILIES = ("diffusion", "autoregressive")
BEGIN, END = "<!-- table: python -m recipes.table -->", "<!-- end of table -->"


def cell(task: str, family: str) -> str:
    """What one cell shows: gain over the base and over a foreign control, the scale of both, and what probes read."""
    path = ROOT / "results" / f"{task}-{family}.json"
    if not path.exists():
        return "not yet"
    report: dict[str, Any] = json.loads(path.read_text())
    gains = {row["right"]: row["values"]["psnr_db"] for row in report["differences"]}
    place = {name: values["psnr_db"]["value"] for name, values in report["values"].items() if "psnr_db" in values}
    lines = [f"[**{place['post-trained']:.1f} dB**](results/{path.name}), {gain(gains['base'])} over the base"]
    if "shuffled" in gains:
        lines.append(f"{gain(gains['shuffled'])} over shuffled control")
    lines += obedience(report)
    lines.append(f"floor {place['copy']:.1f}, ceiling {place['codec']:.1f}; {counted(report['num_seeds'], 'seed')}")
    return "<br>".join(lines)


def gain(pooled: dict[str, Any]) -> str:
    """A difference of PSNR with its interval."""
    return f"{pooled['value']:+.2f} [{pooled['low']:+.2f}, {pooled['high']:+.2f}]"


def table() -> str:
    """Markdown between the two marks."""
    rows = ["| task | what post-training adds | diffusion | autoregressive |", "|---|---|---|---|"]
    for name, task in TASKS.items():
        cells = " | ".join(cell(name, family) for family in FAMILIES)
        rows.append(f"| {name} | {task.summary} | {cells} |")
    return "\n".join([BEGIN, *rows, END])


def rewritten(page: Path, marked: str, *, check: bool) -> None:
    """Put what is `marked`, its two marks included, into a page; with `check` exit 1 when it is not there already."""
    begin, text = marked.partition("\n")[0], page.read_text()
    start, stop = text.index(begin), text.index(END) + len(END)
    if text[start:stop] == marked:
        return
    if check:
        command = begin.removeprefix("<!-- table: ").removesuffix(" -->")
        sys.exit(f"{page.name}: the table is out of date; run `{command}`")
    page.write_text(text[:start] + marked + text[stop:])


def main() -> None:
    """Rewrite the README's table, or with --check exit 1 when it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    rewritten(ROOT / "README.md", table(), check=parser.parse_args().check)


if __name__ == "__main__":
    main()
