"""Commands in files: a column per axis, a row per frame.

Shape legend: T frames.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.contract.errors import suggest
from worldtune.contract.files import write_whole
from worldtune.contract.steering import Axis

FRAMES = "frames"
"""Column or key: for how many frames a row holds; 1 without it."""
MAX_FRAMES = 1_000_000


def read_commands(path: Path, axes: Sequence[Axis], held: Mapping[str, float] | None = None) -> dict[str, np.ndarray]:
    """Values [T] of the axes that the file names; the others are at rest, or stay where they are.

    CSV: the first line names axes; JSON: a list of objects. Where a row gives no value the axis is at rest, or stays;
    held: where axes that stay begin, as `Session.held` tells. ValueError naming file, line and column for an unknown
    axis, a value that is no finite number or outside of the axis' range, and a file without rows.
    """
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    if not rows:
        raise ValueError(f"{path}: holds no commands")
    known = {axis.name: axis for axis in axes}
    names = [name for name in dict.fromkeys(name for _, row in rows for name in row) if name != FRAMES]
    for name in names:
        if name not in known:
            raise ValueError(
                f"{path}: no axis {name!r} in this run: {suggest(name, known) if known else 'it has none'}"
            )
    values: dict[str, list[float]] = {name: [] for name in names}
    absent = {axis.name: axis.rest for axis in axes} | dict(held or {})
    total = 0
    for where, row in rows:
        count = _number(row.get(FRAMES, 1), f"{where}: {FRAMES}")
        if count < 1 or count != int(count) or total + count > MAX_FRAMES:
            raise ValueError(f"{where}: {FRAMES} must be a whole number from 1 to {MAX_FRAMES} in all, got {count:g}")
        total += int(count)
        for name in names:
            axis = known[name]
            value = absent[name] if row.get(name) in (None, "") else _number(row[name], f"{where}: {name}")
            # `write_commands` rounds to seven digits.
            rounding = 1e-6 * max(1.0, abs(value))
            if not axis.low - rounding <= value <= axis.high + rounding:
                wanted = f"{axis.low:.4g} to {axis.high:.4g} {axis.unit}"
                raise ValueError(f"{where}: {name} is {value:g}, the training clips show {wanted}")
            values[name] += [value] * int(count)
            if axis.holds:
                absent[name] = value
    return {name: np.array(column) for name, column in values.items()}


def write_commands(path: Path, commands: Mapping[str, np.ndarray]) -> None:
    """Write what `read_commands` reads, as CSV."""
    with write_whole(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(commands)
        writer.writerows([f"{value:.7g}" for value in row] for row in zip(*commands.values(), strict=True))


def _csv_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = [(name or "").strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = []
            for row in reader:
                where = f"{path} line {reader.line_num}"
                if None in row:
                    raise ValueError(f"{where}: more values than the first line has names")
                rows.append((where, dict(row)))
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a readable CSV file ({error})") from None


def _json_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        value = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error})") from None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise ValueError(f'{path}: wanted a list of objects such as {{"frames": 8, "forward": 0.3}}')
    return [(f"{path} row {number}", row) for number, row in enumerate(value, 1)]


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where} must be a number, got {value!r}") from None
    if not np.isfinite(number):
        raise ValueError(f"{where} must be finite, got {value!r}")
    return number
