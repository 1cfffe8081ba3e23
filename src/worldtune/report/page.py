"""report.html: one page that needs nothing besides itself. Every number on it comes from report.json."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from worldtune.report import tables
from worldtune.report.plots import colour_of, curves_plot, frames_plot, gains_plot, values_plot

MAX_FILM_BYTES = 8_000_000
"""Clips beyond this are left out of the page, so that it stays below 10 MB."""
OBEDIENCE = "obedience to"
"""Begins the names of what is skipped when it is not a column."""
SMALL_PX = 128
"""Frames narrower than this are enlarged with visible pixels."""


@dataclass(frozen=True, kw_only=True)
class ShownClip:
    """One clip of the page."""

    id: str
    text: str
    """What the model was told."""
    foreign_text: str
    """What it was told in the shuffled column; empty without one."""
    fps_hz: float
    num_frames: int
    num_observed: int
    """Leading pixel frames that were given."""
    width_px: int
    height_px: int
    films: Mapping[str, str]
    """Column -> film strip as a data URI."""
    psnr_db: Mapping[str, float]
    """Column -> PSNR of this clip."""


def render(report: Mapping[str, Any], clips: Sequence[ShownClip]) -> str:
    """The page for a report (as in report.json) and the clips that fit onto it, in the order given."""
    fitting = fit(clips)
    resources = files("worldtune.report")
    return Template((resources / "page.html").read_text()).substitute(
        title=html.escape(report["title"]),
        subtitle=html.escape(report["subtitle"]),
        verdict="".join(f"<p>{html.escape(sentence)}</p>" for sentence in report["verdict"]),
        clips_note=_clips_note(len(fitting), report["num_clips"]),
        clips="".join(_clip(clip) for clip in fitting),
        values=tables.values_table(report),
        differences="".join(tables.difference_table(report, difference) for difference in report["differences"]),
        ground=_ground(report),
        plots=_plots(report),
        meaning=_meaning(report),
        making=_making(report),
        style=(resources / "page.css").read_text(),
        script=(resources / "page.js").read_text(),
    )


def fit(clips: Sequence[ShownClip]) -> list[ShownClip]:
    """The leading clips whose films fit into MAX_FILM_BYTES together; at least one."""
    chosen: list[ShownClip] = []
    total = 0
    for clip in clips:
        total += sum(len(uri) for uri in clip.films.values())
        if chosen and total > MAX_FILM_BYTES:
            break
        chosen.append(clip)
    return chosen


def _clips_note(num_shown: int, num_clips: int) -> str:
    which = "All" if num_shown == num_clips else f"The first {num_shown} of {num_clips}"
    return f"{which} clips, not picked. Columns run in step; a dashed rim marks frames that were given."


def _clip(clip: ShownClip) -> str:
    """A clip: its films in step, and all their frames as strips."""
    small = "clip small" if clip.width_px < SMALL_PX else "clip"
    strips = "".join(
        f'<p>{html.escape(name)}</p><div class="strip" style="background-image:var(--film-{number})"></div>'
        for number, name in enumerate(clip.films)
    )
    foreign = f" <br>shuffled: {html.escape(clip.foreign_text)}" if clip.foreign_text else ""
    return (
        f'<article class="{small}" {film_attributes(clip)}><h3>{html.escape(clip.id)}</h3>'
        f'<p class="caption">{html.escape(clip.text) or "(no text)"}{foreign}</p>'
        f'<div class="films">{film_figures(clip)}</div>'
        f'<details><summary>all frames</summary><div class="strips">{strips}</div></details></article>'
    )


def film_attributes(clip: ShownClip) -> str:
    """What the element around the films of a clip needs, for page.css and page.js."""
    uris = ";".join(f"--film-{number}:url({uri})" for number, uri in enumerate(clip.films.values()))
    film_width = "6.5rem" if clip.width_px <= 1.4 * clip.height_px else "17rem"
    style = f"--frames:{clip.num_frames};--ratio:{clip.width_px / clip.height_px:.4f};--film-width:{film_width};{uris}"
    return (
        f'style="{html.escape(style)}" data-frames="{clip.num_frames}" data-fps="{clip.fps_hz:g}" '
        f'data-observed="{clip.num_observed}"'
    )


def film_figures(clip: ShownClip) -> str:
    """The films of a clip, which page.js runs in step."""
    return "".join(_figure(clip, name, number) for number, name in enumerate(clip.films))


def _figure(clip: ShownClip, name: str, number: int) -> str:
    score = f"<br><span>{clip.psnr_db[name]:.2f} dB</span>" if name in clip.psnr_db else ""
    return (
        f'<figure><div class="film" role="img" aria-label="{html.escape(name)}" '
        f'style="background-image:var(--film-{number})"></div>'
        f'<figcaption style="--tint:{colour_of(name)}"><b>{html.escape(name)}</b>{score}</figcaption></figure>'
    )


def _ground(report: Mapping[str, Any]) -> str:
    """What FD-own stands on."""
    ground = report["fd_ground"]
    if ground is None:
        return ""
    sentence = f"FD-own stands on {ground['num_samples']} samples of {ground['num_features']} features per seed."
    if ground["real_vs_real"] is not None:
        left, right = ground["real_vs_real"]["num_samples"]
        value = tables.number(ground["real_vs_real"]["value"], report["measures"]["fd_own"]["decimals"])
        sentence += f" Real against real, halves of {left} and {right} samples: {value}."
    warning = f' <span class="warning">{html.escape(ground["warning"])}</span>' if ground["warning"] else ""
    return f'<p class="note">{sentence}{warning}</p>'


def _plots(report: Mapping[str, Any]) -> str:
    psnr = _by_column(report, "psnr_db")
    drawn = [
        ("Between floor and ceiling", values_plot(psnr, report["measures"]["psnr_db"]["label"])),
        ("How the prediction holds over time", _frames(report)),
    ]
    for control, reader in report.get("obedience", {}).items():
        name = reader["measures"][0]
        if name in report["measures"]:
            plot = values_plot(_by_column(report, name), report["measures"][name]["label"])
            drawn.insert(0, (f"Obedience to {html.escape(control)}", plot))
    if {"post-trained", "base"} <= psnr.keys():
        clips = [clip["psnr_db"] for clip in report["per_clip"]]
        drawn.append(("Clip by clip", gains_plot([clip["post-trained"] - clip["base"] for clip in clips], "base")))
    if any(report["training"]):
        drawn.append(("Training", curves_plot(report["training"])))
    return "".join(f"<div><h3>{name}</h3>{svg}</div>" for name, svg in drawn)


def _by_column(report: Mapping[str, Any], measure: str) -> dict[str, Any]:
    """A measure of every column that has it."""
    return {column: values[measure] for column, values in report["values"].items() if measure in values}


def _frames(report: Mapping[str, Any]) -> str:
    per_frame = report["per_frame_psnr_db"]
    return frames_plot(per_frame["columns"], per_frame["first_frame"])


def _meaning(report: Mapping[str, Any]) -> str:
    columns = _definitions(report["columns"])
    skipped = "".join(
        f'<p class="note">No {"measure of" if name.startswith(OBEDIENCE) else "column"} {html.escape(name)}: '
        f"{html.escape(reason)}.</p>"
        for name, reason in report["skipped"].items()
    )
    measures = {
        measure["label"]: f"{measure['meaning']} {measure['better'].capitalize()} is better."
        for measure in report["measures"].values()
    }
    probes = "".join(
        f'<p class="note">The {html.escape(control)} probe was trained on {reader["num_clips"]} real clips; it '
        f"explains {reader['explained']:.0%} of what varies in {reader['num_held_out']} further ones.</p>"
        for control, reader in report.get("obedience", {}).items()
        if "explained" in reader
    )
    notes = f"{probes}<p>{tables.INTERVAL_NOTE}</p>"
    return f"<h3>Columns</h3>{columns}{skipped}<h3>Measures</h3>{_definitions(measures)}{notes}"


def _definitions(meanings: Mapping[str, str]) -> str:
    rows = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in meanings.items())
    return f"<dl>{''.join(rows)}</dl>"


def _making(report: Mapping[str, Any]) -> str:
    commands = html.escape("\n".join(report["commands"]))
    machine = _definitions({name: str(value) for name, value in report["evaluated"].items()})
    settings = "".join(
        f"<details><summary>settings of {html.escape(made['out'])}</summary>"
        f"<pre>{html.escape(json.dumps(made, indent=1))}</pre></details>"
        for made in report["made"]
    )
    return f"<pre>{commands}</pre>{machine}{settings}"
