"""The result in plain words, from report.json."""

from collections.abc import Mapping
from typing import Any

from worldtune.report.tables import interval, number

DECIMALS = 2


def verdict(report: Mapping[str, Any]) -> list[str]:
    """Sentences, the most important one first."""
    sentences = [_comparison(one, report["num_clips"], report["num_seeds"]) for one in report["differences"]]
    sentences.append(_place(report["values"]))
    if report["fd_ground"] is not None and report["fd_ground"]["warning"]:
        sentences.append(f"FD-own is not to be relied on here: {report['fd_ground']['warning']}.")
    return sentences


def _comparison(difference: Mapping[str, Any], num_clips: int, num_seeds: int) -> str:
    """How far the left column is from the right one, and whether that is certain."""
    pooled = difference["values"]["psnr_db"]
    gap = f"{number(pooled['value'], DECIMALS, signed=True)} dB PSNR"
    bounds = f" [{interval(pooled, DECIMALS, signed=True)}]" if pooled["low"] is not None else ""
    over = {
        "base": f"over the base on {_count(num_clips, 'held-out clip')}, {_count(num_seeds, 'seed')}",
        "shuffled": "over the same model under another clip's control",
        "copy": "over repeating the last given frame",
    }[difference["right"]]
    return f"{difference['left'].capitalize()} is {gap}{bounds} {over}: {_certainty(pooled)}."


def _certainty(pooled: Mapping[str, Any]) -> str:
    if pooled["low"] is None:
        return "one clip says nothing certain"
    if pooled["low"] > 0:
        return "better"
    return "worse" if pooled["high"] < 0 else "no certain difference"


def _place(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the columns stand between floor and ceiling."""
    words = {"copy": "floor (copy)", "base": "base", "post-trained": "post-trained", "codec": "ceiling (codec)"}
    parts = [
        f"{words[column]} {number(values[column]['psnr_db']['value'], DECIMALS)}"
        for column in words
        if column in values
    ]
    return f"PSNR in dB: {', '.join(parts)}."


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
