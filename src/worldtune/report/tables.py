"""The tables of the report, from report.json to HTML."""

import html
from collections.abc import Mapping
from typing import Any

from worldtune.report.plots import colour_of

INTERVAL_NOTE = (
    "Small figures are 95 % confidence intervals over episodes, each clip averaged over its seeds first: a bootstrap "
    "for means and differences, a jackknife for FD-own. Differences compare the same clips under the same seeds."
)
JUDGED = ("post-trained", "base", "shuffled")
"""Columns that compete; floor, ceiling and truth do not."""


def number(value: float, decimals: int, signed: bool = False) -> str:
    """A number as the page prints it, with a true minus sign, and none before a zero."""
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if signed else ''}.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def interval(pooled: Mapping[str, Any], decimals: int, signed: bool = False) -> str:
    """The bounds as the page prints them; empty without any."""
    if pooled["low"] is None:
        return ""
    return f"{number(pooled['low'], decimals, signed)} .. {number(pooled['high'], decimals, signed)}"


def values_table(report: Mapping[str, Any]) -> str:
    """Columns of the report as rows, measures as columns."""
    measures = report["measures"]
    rows = []
    for column, values in report["values"].items():
        cells = "".join(
            _cell(values.get(name), measures[name]["decimals"], _best(report, name) == column) for name in measures
        )
        rows.append(f'<tr><th style="--tint:{colour_of(column)}">{html.escape(column)}</th>{cells}</tr>')
    caption = f"Mean over {report['num_clips']} {report['clips_are']} clips and {counted(report['num_seeds'], 'seed')}"
    return _table(caption, _head(measures), "".join(rows))


def difference_table(report: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    """One comparison: the difference, its interval, and every seed."""
    rows = []
    for name, pooled in difference["values"].items():
        measure = report["measures"][name]
        decimals = measure["decimals"]
        seeds = ", ".join(number(value, decimals, signed=True) for value in pooled["per_seed"])
        rows.append(
            f"<tr><th>{html.escape(measure['label'])}</th>"
            f'<td class="{_judgement(pooled, measure["better"])}">{number(pooled["value"], decimals, signed=True)}</td>'
            f"<td>{interval(pooled, decimals, signed=True) or 'one episode: none'}</td><td>{seeds}</td></tr>"
        )
    head = "<th></th><th>difference</th><th>95 % interval</th><th>every seed</th>"
    return _table(f"{difference['left']} minus {difference['right']}", head, "".join(rows))


def _best(report: Mapping[str, Any], name: str) -> str | None:
    """The column that wins a measure."""
    values = {
        column: values[name]["value"]
        for column, values in report["values"].items()
        if column in JUDGED and values.get(name) is not None
    }
    if len(values) < 2:
        return None
    sign = 1 if report["measures"][name]["better"] == "higher" else -1
    return max(values, key=lambda column: sign * values[column])


def _judgement(pooled: Mapping[str, Any], better: str) -> str:
    """CSS class of a difference: good or bad when its interval excludes zero."""
    if pooled["low"] is None or pooled["low"] <= 0 <= pooled["high"]:
        return ""
    return "good" if (pooled["value"] > 0) == (better == "higher") else "bad"


def _cell(pooled: Mapping[str, Any] | None, decimals: int, is_best: bool) -> str:
    if pooled is None:
        return "<td>-</td>"
    mark = ' class="best"' if is_best else ""
    return f"<td{mark}>{number(pooled['value'], decimals)}<small>{interval(pooled, decimals)}</small></td>"


def _head(measures: Mapping[str, Mapping[str, Any]]) -> str:
    arrows = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}
    return "<th></th>" + "".join(
        f"<th>{html.escape(measure['label'])} {arrows[measure['better']]}</th>" for measure in measures.values()
    )


def counted(count: int, noun: str, after: str = "") -> str:
    """(2, "episode", " left out") -> "2 episodes left out"."""
    return f"{count} {noun}{'' if count == 1 else 's'}{after}"


def _table(caption: str, head: str, body: str) -> str:
    return (
        f'<div class="scroll"><table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
