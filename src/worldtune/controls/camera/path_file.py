"""Camera paths in files: a CSV of times, places and quaternions, or a camera_path.json of the nerfstudio viewer.

Shape legend: N poses of a file; 44 is a 4x4 matrix.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.files import read_json
from worldtune.contract.path_csv import TIME, read_columns
from worldtune.contract.poses import opencv_from_opengl, require_poses, rigid, rotations_from_quaternions

COLUMNS = (TIME, "x_m", "y_m", "z_m", "qx", "qy", "qz", "qw")
"""Of a path in a CSV file: world_from_camera, OpenCV axes."""
UNIT_TOLERANCE = 0.01
"""A quaternion's length may differ from 1 by so much: numbers of two digits, and no other columns by mistake."""
HALF_TURN = 0.01
"""Cosine of half the turn between two rows below which either way round would do: from 178.9 degrees on."""
EITHER_WAY = "half a turn since the row before may go either way round; give a row in between"
NERFSTUDIO = ".json"

Path_N = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Times in s, rising [N], and world_from_camera with OpenCV axes [N,4,4]."""


def read_path(path: Path) -> Path_N:
    """A way of the camera. ValueError naming the file, and the line or entry that is wrong.

    CSV: COLUMNS. JSON: what the nerfstudio viewer exports, "camera_path" with a "camera_to_world" (4x4, row by row,
    OpenGL axes) for each frame, and "fps" or else "seconds"; lenses are left out, the clip keeps its own.
    """
    return _from_nerfstudio(path) if path.suffix == NERFSTUDIO else _from_csv(path)


def _from_csv(path: Path) -> Path_N:
    table_N8, lines_N = read_columns(path, COLUMNS)
    _require_turns(table_N8[:, 4:], lines_N, path)
    rotations_N33 = rotations_from_quaternions(table_N8[:, [7, 4, 5, 6]], str(path))
    return table_N8[:, 0], rigid(rotations_N33, table_N8[:, 1:4])


def _from_nerfstudio(path: Path) -> Path_N:
    value = read_json(path)
    frames = value.get("camera_path") if isinstance(value, dict) else None
    if not isinstance(frames, list) or len(frames) < 2:
        raise ValueError(
            f'{path}: "camera_path" must be a list of at least two frames, as the nerfstudio viewer exports'
        )
    poses = []
    for index, frame in enumerate(frames):
        try:
            poses.append(np.array(frame["camera_to_world"], np.float64).reshape(4, 4))
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"{path}: camera_path[{index}]: camera_to_world must be 16 numbers") from None
    poses_N44 = opencv_from_opengl(np.stack(poses))
    require_poses(poses_N44, str(path))
    turns_N = np.trace(poses_N44[:-1, :3, :3].swapaxes(1, 2) @ poses_N44[1:, :3, :3], axis1=1, axis2=2)
    if len(wrong := np.flatnonzero(turns_N < 4 * HALF_TURN**2 - 1)):
        raise ValueError(f"{path}: camera_path[{wrong[0] + 1}]: {EITHER_WAY}")
    return np.arange(len(poses)) / _rate_hz(path, value, len(poses)), poses_N44


def _rate_hz(path: Path, value: dict[str, object], frames: int) -> float:
    for name in ("fps", "seconds"):
        number = value.get(name)
        if isinstance(number, int | float) and number > 0:
            return float(number if name == "fps" else frames / number)
    raise ValueError(f'{path}: "fps" must be a number above 0, got {value.get("fps")!r}')


def _require_turns(xyzw_N4: NDArray[np.float64], lines_N: NDArray[np.int64], path: Path) -> None:
    """ValueError naming file and line unless rows are unit quaternions less than half a turn apart."""
    lengths_N = np.linalg.norm(xyzw_N4, axis=1)
    if len(wrong := np.flatnonzero(np.abs(lengths_N - 1) > UNIT_TOLERANCE)):
        line, length = lines_N[wrong[0]], lengths_N[wrong[0]]
        raise ValueError(f"{path} line {line}: the quaternion qx,qy,qz,qw must have length 1, got {length:.3g}")
    cosines = np.abs((xyzw_N4[1:] * xyzw_N4[:-1]).sum(1))
    if len(wrong := np.flatnonzero(cosines < HALF_TURN)):
        raise ValueError(f"{path} line {lines_N[wrong[0] + 1]}: {EITHER_WAY}")
