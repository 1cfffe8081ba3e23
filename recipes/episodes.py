"""Intervals over episodes in reports that drew clips: `python -m recipes.episodes results/*.json`.

For cells whose clips are not at hand any more. Means and differences are those of "per_clip", so their intervals can be
drawn anew; those of FD-own cannot, and stay. Clip ids begin with dataset and episode. Running it again changes nothing.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worldtune.contract.files import read_json, write_json
from worldtune.metrics.columns import FRECHET
from worldtune.metrics.scores import pooled_difference, pooled_mean
from worldtune.report.verdict import verdict
from worldtune.stages.evaluate import BOOTSTRAP_SEED

Report = dict[str, Any]


def episode_of(clip_id: str) -> str:
    """ "tabletop-001200-000008" -> "tabletop-001200"."""
    return clip_id.rsplit("-", 1)[0]


def of_clips(report: Report, measure: str, column: str) -> list[float | None]:
    """One value per clip, averaged over seeds."""
    return [clip[measure][column] for clip in report["per_clip"]]


def redrawn(values: Mapping[str, Any], bounds: Mapping[str, Any]) -> dict[str, Any]:
    """Pooled values with other bounds; the mean must be the same."""
    assert abs(values["value"] - bounds["value"]) < 1e-6 * max(1, abs(values["value"])), (values, bounds)
    return {**values, "low": bounds["low"], "high": bounds["high"]}


def with_episodes(report: Report) -> Report:
    """The report with intervals over episodes, and its sentences with them."""
    episodes = [episode_of(clip["id"]) for clip in report["per_clip"]]
    for column, measures in report["values"].items():
        for name in measures.keys() - {FRECHET}:
            pooled = pooled_mean([of_clips(report, name, column)], BOOTSTRAP_SEED, episodes)
            assert pooled is not None
            measures[name] = redrawn(measures[name], pooled.to_json())
    for row in report["differences"]:
        for name in row["values"].keys() - {FRECHET}:
            pairs = [[of_clips(report, name, row[side])] for side in ("left", "right")]
            pooled = pooled_difference(*pairs, BOOTSTRAP_SEED, episodes)
            assert pooled is not None
            row["values"][name] = redrawn(row["values"][name], pooled.to_json())
    report |= {"num_episodes": len(set(episodes)), "clips_are": "held-out"}
    return report | {"verdict": verdict(report), "intervals": "drawn over episodes by recipes.episodes; FD-own: clips"}


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrite the named reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=Path)
    for path in parser.parse_args(argv).reports:
        report = read_json(path)
        if "per_clip" not in report or ("num_episodes" in report and "intervals" not in report):
            print(f"{path}: drawn over episodes already, or not a report of clips")
            continue
        write_json(path, with_episodes(report))
        print(f"{path}: {report['num_clips']} clips of {report['num_episodes']} episodes")


if __name__ == "__main__":
    main()
