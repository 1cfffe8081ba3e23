"""An ego path in a CSV file: `time_s,x_m,y_m,yaw_rad`, one row per moment, any spacing.

Ego axes: x forward, y left, z up; yaw counter-clockwise. Layouts read it for training, `worldtune rollout` to drive.

Shape legend: N rows, P frames; 44 is a 4x4 matrix.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("time_s", "x_m", "y_m", "yaw_rad")


def read_csv(path: Path) -> NDArray[np.float64]:
    """The four columns, [N,4], times rising. Other columns are left out.

    Raises ValueError naming file, line and column for a missing file or column, a value that is no finite number, a
    time that does not rise, and fewer than two rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = [(name or "").strip() for name in reader.fieldnames or ()]
            if missing := [name for name in COLUMNS if name not in names]:
                raise ValueError(f"{path}: no column {missing[0]!r}; the first line must name {','.join(COLUMNS)}")
            reader.fieldnames = names
            rows = [[_number(row, name, f"{path} line {reader.line_num}") for name in COLUMNS] for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a readable CSV file ({error})") from None
    if len(rows) < 2:
        raise ValueError(f"{path}: a path needs at least two rows, got {len(rows)}")
    table = np.array(rows)
    if len(falls := np.flatnonzero(np.diff(table[:, 0]) <= 0)):
        before, after = table[falls[0] : falls[0] + 2, 0]
        row = falls[0] + 2
        raise ValueError(
            f"{path} row {row} of {len(table)}: time_s must rise from row to row, got {after:g} after {before:g}"
        )
    return table


def _number(row: dict[str, str | None], name: str, where: str) -> float:
    text = row[name]
    try:
        value = float(text or "")
    except ValueError:
        raise ValueError(f"{where}: {name} must be a number, got {text!r}") from None
    if not np.isfinite(value):
        raise ValueError(f"{where}: {name} must be finite, got {text!r}")
    return value


def world_from_ego(table_N4: NDArray[np.float64], times_s: NDArray[np.floating]) -> NDArray[np.float64]:
    """Poses [P,4,4] at these moments, linear in between, on flat ground: the feature ego.world_from_ego.

    ValueError for a moment outside of the table, unless it is within a millisecond of its ends.
    """
    first, last = table_N4[0, 0], table_N4[-1, 0]
    outside = (times_s < first - 1e-3) | (times_s > last + 1e-3)
    if outside.any():
        raise ValueError(f"the path covers {first:g}..{last:g} s, but {times_s[outside][0]:g} s was asked for")
    x, y, yaw = (
        np.interp(times_s, table_N4[:, 0], column) for column in (*table_N4[:, 1:3].T, np.unwrap(table_N4[:, 3]))
    )
    poses = np.tile(np.eye(4), (len(times_s), 1, 1))
    poses[:, 0, 0], poses[:, 0, 1], poses[:, 0, 3] = np.cos(yaw), -np.sin(yaw), x
    poses[:, 1, 0], poses[:, 1, 1], poses[:, 1, 3] = np.sin(yaw), np.cos(yaw), y
    return poses
