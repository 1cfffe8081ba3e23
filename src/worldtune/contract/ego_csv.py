"""An ego path in a CSV file: `time_s,x_m,y_m,yaw_rad`, one row per moment, any spacing.

Ego axes: x forward, y left, z up; yaw counter-clockwise. Layouts read it for training, `worldtune rollout` to drive.

Shape legend: N rows, P frames; 44 is a 4x4 matrix.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.path_csv import TIME, read_columns

COLUMNS = (TIME, "x_m", "y_m", "yaw_rad")


def read_csv(path: Path) -> NDArray[np.float64]:
    """The four columns, [N,4]. ValueError naming file, line and column, as `read_columns` raises it."""
    return read_columns(path, COLUMNS)[0]


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
