"""Paths in CSV files: named columns of numbers, one row per moment, any spacing.

Shape legend: N rows, C columns, P frames.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TIME = "time_s"


def read_columns(path: Path, columns: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """These columns, [N,C], and the line of the file that each row ends on, [N].

    The first column is the time and rises; others than the named ones are left out. Raises ValueError naming file,
    line and column for a missing file or column, a value that is no finite number, a time that does not rise, and
    fewer than two rows.
    """
    assert columns[0] == TIME, columns
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = [(name or "").strip() for name in reader.fieldnames or ()]
            if missing := [name for name in columns if name not in names]:
                raise ValueError(f"{path}: no column {missing[0]!r}; the first line must name {','.join(columns)}")
            reader.fieldnames = names
            rows, lines = [], []
            for row in reader:
                rows.append([_number(row, name, f"{path} line {reader.line_num}") for name in columns])
                lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a readable CSV file ({error})") from None
    if len(rows) < 2:
        raise ValueError(f"{path}: a path needs at least two rows, got {len(rows)}")
    table_NC, lines_N = np.array(rows), np.array(lines)
    if len(falls := np.flatnonzero(np.diff(table_NC[:, 0]) <= 0)):
        before, after = table_NC[falls[0] : falls[0] + 2, 0]
        line = lines_N[falls[0] + 1]
        raise ValueError(f"{path} line {line}: {TIME} must rise from row to row, got {after:g} after {before:g}")
    return table_NC, lines_N


def frame_times_s(times_N: NDArray[np.floating], fps_hz: float) -> NDArray[np.float64]:
    """Times of frames at this rate, from the first row's on as far as the rows go, [P]."""
    first, last = times_N[[0, -1]]
    frames = 1 + int((last - first) * fps_hz + 1e-6)
    return np.minimum(first + np.arange(frames) / fps_hz, last)


def _number(row: dict[str, str | None], name: str, where: str) -> float:
    text = row[name]
    try:
        value = float(text or "")
    except ValueError:
        raise ValueError(f"{where}: {name} must be a number, got {text!r}") from None
    if not np.isfinite(value):
        raise ValueError(f"{where}: {name} must be finite, got {text!r}")
    return value
