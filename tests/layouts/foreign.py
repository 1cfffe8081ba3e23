"""Frames and cameras for the tests of this folder.

Every frame tells its own number, as in `tests.data.recordings`. Shape legend: T frames, H W rows and columns.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.recordings import numbered_video

HEIGHT_PX, WIDTH_PX = 32, 48


def images(
    folder: Path, names: list[str], first: int = 0, height_px: int = HEIGHT_PX, width_px: int = WIDTH_PX
) -> None:
    """Numbered frames as image files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, numbered_video(len(names), height_px, width_px, first), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(frame)).save(folder / name)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def change_json(path: Path, change: Any) -> None:
    """Apply a function to the value of a file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def turn_z(angle_rad: float) -> np.ndarray:
    """Rotation about z, [3,3]."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def pose(rotation: np.ndarray, position: Any) -> np.ndarray:
    """Rigid transform [4,4]."""
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation, position
    return result


LOOKS_ALONG_X = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]])
"""world_from_camera of a level OpenCV camera in a world with z up that looks along x: columns right, down, forward."""


def walk(num_frames: int) -> np.ndarray:
    """world_from_camera [T,4,4], OpenCV axes: turns to the left by 0.1 rad and moves by (1, 0.5, 0.1) m per frame."""
    return np.stack([pose(turn_z(0.1 * k) @ LOOKS_ALONG_X, [k, 0.5 * k, 2 + 0.1 * k]) for k in range(num_frames)])


def quaternion(rotation: np.ndarray) -> list[float]:
    """w, x, y, z of a rotation, found as the eigenvector that belongs to it: another way than the one under test."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    x, y, z, w = np.linalg.eigh(k)[1][:, -1]
    return [float(value) for value in (w, x, y, z)]
