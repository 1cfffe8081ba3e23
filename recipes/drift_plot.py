"""Curves of what `recipes.drift` measured: `python -m recipes.drift_plot docs/drift.webp results/drift-*.json`.

A row per file, a column per measure; the band is the 95 % interval over clips of what is shipped. Prints the same as
tables: the first chunk, and the mean over the second half.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recipes.drift import DEFAULT, VARIANTS

BOUNDS = {"copy": "#8b93a1", "codec": "#10b981", "another control": "#b45309", "truth": "#111827"}
COLOURS = ("#2563eb", "#f59e0b", "#a855f7", "#ef4444", "#0891b2", "#ec4899", "#84cc16")
"""Of the variants; as many as the larger family has."""
LABELS = {
    "psnr_db": "PSNR to the truth, dB",
    "sharpness": "sharpness, of the start's",
    "camera_step_rotation_deg": "camera error of a chunk, deg",
    "action_error_std": "action error of a chunk, std",
}
"""Measures that are drawn, in the order of the columns; a file has three of them."""
MEASURED_ON_TRUTH = ("psnr_db", "sharpness")
"""Measures of which the truth has nothing to tell."""
TOP = {"sharpness": 2.0, "psnr_db": 32.0}
"""Upper ends of axes: the truth itself has an endless PSNR."""


def curve(axes: Axes, rows: list[dict[str, Any]], colour: str, name: str, *, band: bool, **style: Any) -> None:
    """One line over the chunks, with its band."""
    chunks = np.arange(1, len(rows) + 1)
    axes.plot(chunks, [row["value"] for row in rows], color=colour, label=name, **style)
    if band and rows[0]["low"] is not None:
        low, high = ([row[side] for row in rows] for side in ("low", "high"))
        axes.fill_between(chunks, low, high, color=colour, alpha=0.13, linewidth=0)


def draw_row(row: list[Axes], report: dict[str, Any]) -> None:
    """All measures of a file."""
    measures = [name for name in LABELS if name in report["measures"]]
    for axes, measure in zip(row, measures, strict=True):
        for name, colour in BOUNDS.items():
            rows = report["bounds"][name].get(measure)
            if rows is not None and not (name == "truth" and measure in MEASURED_ON_TRUTH):
                curve(axes, rows, colour, name, band=False, linestyle="--" if name != "truth" else ":", linewidth=1.2)
        for (name, variant), colour in _coloured(report):
            is_default = name == DEFAULT
            curve(axes, variant["by_chunk"][measure], colour, name, band=is_default, linewidth=2 if is_default else 1)
        axes.set_ylim(top=min(TOP.get(measure, np.inf), axes.get_ylim()[1]))
        axes.set_title(LABELS[measure], fontsize=8, loc="left")
        axes.set_xlabel("chunk of 4 frames", fontsize=7)
        axes.tick_params(labelsize=7)
    row[0].set_ylabel(f"{report['run']['task']}\n{Path(report['run']['base']).name}", fontsize=8)
    row[-1].legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _coloured(report: dict[str, Any]) -> list[tuple[tuple[str, Any], str]]:
    """Each variant with its colour, which is the same in every file of a family, whatever was measured first."""
    variants, known = report["variants"], VARIANTS[report["run"]["family"]]
    assert len(known) <= len(COLOURS), "more variants than colours"
    return [((name, variants[name]), colour) for name, colour in zip(known, COLOURS, strict=False) if name in variants]


def table(report: dict[str, Any]) -> str:
    """Markdown: what each variant and each bound comes to."""
    measures = [name for name in LABELS if name in report["measures"]]
    rows = [[report["run"]["task"], *(LABELS[name] for name in measures), "frames/s"], ["---"] * (len(measures) + 2)]
    variants = {name: (one["by_chunk"], one["frames_per_processor_s"]) for name, one in report["variants"].items()}
    limits = {name: (by_chunk, None) for name, by_chunk in report["bounds"].items()}
    for name, (by_chunk, rate_hz) in (variants | limits).items():
        cells = []
        for measure in measures:
            values = [row["value"] for row in by_chunk.get(measure, ())]
            told = bool(values) and not (name == "truth" and measure in MEASURED_ON_TRUTH)
            cells.append(f"{values[0]:.2f}, {np.mean(values[len(values) // 2 :]):.2f}" if told else "")
        rows.append([name, *cells, f"{rate_hz:.0f}" if rate_hz else ""])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("reports", type=Path, nargs="+")
    args = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in args.reports]
    figure = Figure(figsize=(9.5, 2.1 * len(reports)), layout="constrained")
    for row, report in zip(figure.subplots(len(reports), 3, squeeze=False), reports, strict=True):
        draw_row(list(row), report)
    figure.savefig(args.out, dpi=100, pil_kwargs={"quality": 80} if args.out.suffix == ".webp" else {})
    print(args.out, *(table(report) for report in reports), sep="\n\n")


if __name__ == "__main__":
    main()
