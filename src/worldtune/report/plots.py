"""Plots as inline SVG: transparent, text in the colour of the page, no reference to anything outside.

Every function takes parts of report.json and returns an <svg> element.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "post-trained": "#3b82f6",
    "base": "#f59e0b",
    "shuffled": "#a855f7",
    "shuffled, as told": "#d08bff",
    "copy": "#8b93a1",
    "codec": "#10b981",
    "real": "#64748b",
}
OTHER_COLOUR = "#ef4444"
WIDTH_IN = 5.2
INK = "#010203"
"""Stands for the text colour of the page until the SVG is written."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def colour_of(column: str) -> str:
    """The colour of a column, the same in every plot and on the page."""
    return COLOURS.get(column, OTHER_COLOUR)


def values_plot(values: Mapping[str, Mapping[str, Any]], label: str) -> str:
    """One number per column with its interval, from floor to ceiling."""
    figure, axes = _canvas(0.5 + 0.34 * len(values), left=0.18, top_in=0.05)
    for place, (column, pooled) in enumerate(values.items()):
        low = pooled["value"] if pooled["low"] is None else pooled["low"]
        high = pooled["value"] if pooled["high"] is None else pooled["high"]
        axes.plot([low, high], [place, place], color=colour_of(column), linewidth=6, alpha=0.35, solid_capstyle="round")
        axes.plot(pooled["value"], place, "o", color=colour_of(column), markersize=7)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlabel(label)
    return _svg(figure, f"{label} of every column with its 95 % interval")


def frames_plot(per_frame: Mapping[str, Sequence[float]], first_frame: int) -> str:
    """PSNR against the pixel frame; `first_frame` is the first that was not given."""
    figure, axes = _canvas(2.9)
    for column, values in per_frame.items():
        frames = range(first_frame, first_frame + len(values))
        axes.plot(frames, values, color=colour_of(column), label=column, marker="o", markersize=3)
    axes.set_xlabel("frame of the clip")
    axes.set_ylabel("PSNR, dB")
    _legend(axes)
    return _svg(figure, "PSNR of every frame, for every column")


def gains_plot(gains: Sequence[float], versus: str) -> str:
    """What post-training gained on each clip, sorted."""
    figure, axes = _canvas(2.6, left=0.13, top_in=0.1)
    ordered = sorted(gains)
    colours = [colour_of("post-trained") if gain >= 0 else OTHER_COLOUR for gain in ordered]
    axes.bar(range(len(ordered)), ordered, color=colours, width=0.85)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(ordered)} clips, sorted")
    axes.set_ylabel(f"PSNR over {versus}, dB")
    return _svg(figure, f"PSNR gained over {versus} on every clip, sorted")


def curves_plot(curves: Sequence[Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    """Training and validation losses against the step; one entry per seed, name -> {"step": [], "value": []}."""
    figure, axes = _canvas(2.9)
    names = list(dict.fromkeys(name for seed in curves for name in seed))
    palette = [COLOURS["copy"], *(colour for name, colour in COLOURS.items() if name not in ("copy", "real"))]
    for number, name in enumerate(names):
        colour = palette[number % len(palette)]
        for seed, curve in enumerate(seed[name] for seed in curves if name in seed):
            axes.plot(
                curve["step"],
                curve["value"],
                color=colour,
                label=name if seed == 0 else None,
                linewidth=0.9 if name.startswith("train") else 1.6,
                alpha=0.8,
                marker="o" if len(curve["step"]) < 30 else None,
                markersize=3,
            )
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    _legend(axes)
    return _svg(figure, "training and validation loss")


def _canvas(height_in: float, *, left: float = 0.1, top_in: float = 0.42) -> tuple[Figure, Axes]:
    """A figure with fixed margins, `left` as a share of the width: automatic layout would take most of the time."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in))
        figure.subplots_adjust(left=left, right=0.99, bottom=0.42 / height_in, top=1 - top_in / height_in)
        return figure, figure.add_subplot()


def _legend(axes: Axes) -> None:
    """Above the axes, so that it hides nothing."""
    columns = min(len(axes.get_legend_handles_labels()[1]), 3)
    with matplotlib.rc_context(STYLE):
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=columns,
            fontsize=9,
            handlelength=1.4,
            borderpad=0,
            columnspacing=1,
        )


def _svg(figure: Figure, title: str) -> str:
    """The figure as one <svg> element: no XML head, metadata, foreign names or fonts.

    The title salts the ids, so that those of two figures on a page do not collide.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].replace("xlink:href", "href").replace(INK, "currentColor")
    for unwanted in (
        r"<metadata>.*?</metadata>",
        r"<!--.*?-->",
        r' xmlns(:xlink)?="[^"]*"',
        r' (width|height)="[\d.]+pt"',
        r'(?<=<g) id="[^"]*"',
        r"; font-family: [^;\"]*",
    ):
        svg = re.sub(unwanted, "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    return svg.replace("<svg", f'<svg class="plot" role="img" aria-label="{html.escape(title)}"', 1)
