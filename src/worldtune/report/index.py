"""index.html of a matrix: a card per cell with a film, its numbers and the way to its report. Needs nothing else."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from worldtune.report.page import ShownClip, film_attributes, film_figures


@dataclass(frozen=True, kw_only=True)
class Card:
    """One task on one base."""

    task: str
    base: str
    link: str
    """To the report, relative to the index; empty without one."""
    lines: Sequence[str]
    """What it says, the verdict first; or why there is no report."""
    clip: ShownClip | None = None


def render_index(title: str, subtitle: str, summaries: Mapping[str, str], cards: Sequence[Card]) -> str:
    """The page. summaries: what every task adds, in the order of the page."""
    resources = files("worldtune.report")
    sections = (
        _section(task, summary, [card for card in cards if card.task == task]) for task, summary in summaries.items()
    )
    return Template((resources / "index.html").read_text()).substitute(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        tasks="".join(sections),
        style=(resources / "page.css").read_text(),
        script=(resources / "page.js").read_text(),
    )


def _section(task: str, summary: str, cards: Sequence[Card]) -> str:
    inside = "".join(map(_card, cards))
    return (
        f'<section id="{html.escape(task)}"><h2>{html.escape(task)}</h2><p class="note">{html.escape(summary)}</p>'
        f'<div class="cards">{inside}</div></section>'
    )


def _card(card: Card) -> str:
    base = html.escape(card.base)
    name = f'<a href="{html.escape(card.link)}">{base}</a>' if card.link else base
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in card.lines)
    if card.clip is None:
        return f'<article class="card"><h3>{name}</h3>{lines}</article>'
    clip = card.clip
    return (
        f'<article class="card clip small" {film_attributes(clip)}><h3>{name}</h3>'
        f'<a class="films" href="{html.escape(card.link)}" aria-label="report of {html.escape(card.task)} on {base}">'
        f"{film_figures(clip)}</a>{lines}</article>"
    )
