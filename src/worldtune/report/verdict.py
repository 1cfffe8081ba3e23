"""The result in plain words, from report.json."""

from collections.abc import Mapping
from typing import Any

from worldtune.report.tables import counted, interval, number

DECIMALS = 2
LEAST_EXPLAINED = 0.5
"""A probe that explains less of real clips says little of made ones."""


def verdict(report: Mapping[str, Any]) -> list[str]:
    """Sentences, the most important one first."""
    sentences = [_comparison(one, report) for one in report["differences"]]
    for control, reader in report.get("obedience", {}).items():
        sentences += _obedience(control, reader, report)
    sentences.append(_place(report["values"]))
    if report["fd_ground"] is not None and report["fd_ground"]["warning"]:
        sentences.append(f"FD-own is not to be relied on here: {report['fd_ground']['warning']}.")
    return sentences


def _comparison(difference: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """How far the left column is from the right one, and whether that is certain."""
    pooled = difference["values"]["psnr_db"]
    gap = f"{number(pooled['value'], DECIMALS, signed=True)} dB PSNR"
    bounds = f" [{interval(pooled, DECIMALS, signed=True)}]" if pooled["low"] is not None else ""
    clips = counted(report["num_clips"], f"{report['clips_are']} clip")
    over = {
        "base": f"over the base on {clips}, {counted(report['num_seeds'], 'seed')}",
        "shuffled": "over the same model under another clip's control",
        "copy": "over repeating the last given frame",
    }[difference["right"]]
    return f"{difference['left'].capitalize()} is {gap}{bounds} {over}: {_certainty(pooled)}."


def _certainty(pooled: Mapping[str, Any]) -> str:
    if pooled["low"] is None:
        return "one episode says nothing certain"
    if pooled["low"] > 0:
        return "better"
    return "worse" if pooled["high"] < 0 else "no certain difference"


def _obedience(control: str, reader: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """The control's first measure, beside what it is on real clips."""
    name = reader["measures"][0]
    values = {column: measures[name]["value"] for column, measures in report["values"].items() if name in measures}
    if "real" not in values:
        return []
    measure = report["measures"][name]

    def shown(column: str) -> str:
        return number(values[column], measure["decimals"])

    words = {"base": "base", "shuffled": "under another clip's control", "copy": "copy", "codec": "codec"}
    others = ", ".join(f"{words[column]} {shown(column)}" for column in words if column in values)
    if "post-trained" not in values:
        sentence = f"{measure['label']} (control {control}): {others}, real clips {shown('real')}."
    else:
        ratio = f"{values['post-trained'] / values['real']:.1f} times" if values["real"] > 0 else "against"
        obeyed = f"; {_obeyed(name, report)}" if reader["is_commanded"] else ""
        sentence = (
            f"{measure['label']} (control {control}): post-trained {shown('post-trained')}, {ratio} the "
            f"{shown('real')} of real clips; {others}{obeyed}."
        )
    sentences = [sentence[0].upper() + sentence[1:]]
    if reader.get("explained", 1.0) < LEAST_EXPLAINED:
        share = f"{max(reader['explained'], 0):.0%}"
        sentences.append(f"The {control} probe explains only {share} of what varies in real clips: trust it little.")
    return sentences


def _obeyed(name: str, report: Mapping[str, Any]) -> str:
    """How far the true control takes clips from those under a foreign one to real ones, and whether that is certain."""
    pooled = next((one["values"].get(name) for one in report["differences"] if one["right"] == "shuffled"), None)
    if pooled is None:
        return "there is no shuffled column to tell whether it obeys"
    if pooled["low"] is None:
        return "one episode says nothing certain"
    sign = 1 if report["measures"][name]["better"] == "higher" else -1
    if min(sign * pooled["low"], sign * pooled["high"]) <= 0:
        return "not certainly better than under another clip's control: nothing shows that it obeys"
    span = sign * (report["values"]["real"][name]["value"] - report["values"]["shuffled"][name]["value"])
    if span <= 0:
        return "certainly better than under another clip's control, though the probe finds no fault with that"
    share = sign * pooled["value"] / span
    return f"certainly better than under another clip's control, {share:.0%} of the way from there to real clips"


def _place(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the columns stand between floor and ceiling."""
    words = {"copy": "floor (copy)", "base": "base", "post-trained": "post-trained", "codec": "ceiling (codec)"}
    parts = [
        f"{words[column]} {number(values[column]['psnr_db']['value'], DECIMALS)}"
        for column in words
        if column in values
    ]
    return f"PSNR in dB: {', '.join(parts)}."
