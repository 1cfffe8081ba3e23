"""Commanded driving: speed and yaw rate -> the ego path on flat ground, and the cameras that ride on it.

Shape legend: V views, T frames, M poses; 44 is a 4x4 matrix.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from worldtune.contract.ego_csv import read_csv, world_from_ego
from worldtune.contract.path_csv import frame_times_s
from worldtune.contract.poses import planar, planar_between
from worldtune.contract.steering import Axis, percentiles

WORLD_FROM_EGO, WORLD_FROM_CAMERA = "ego.world_from_ego", "camera.world_from_camera"
COMMANDS = (WORLD_FROM_EGO, WORLD_FROM_CAMERA)


def axes(recorded: Sequence[Mapping[str, np.ndarray]], fps_hz: float) -> tuple[Axis, ...]:
    """Ranges are those of the training drives without the outer 2.5 %; at rest the vehicle keeps their median speed."""
    steps = []
    for part in recorded:
        poses_M3 = planar(part[WORLD_FROM_EGO])
        steps.append(planar_between(poses_M3[:-1], poses_M3[1:]))
    rates = np.concatenate(steps)[:, [0, 2]] * fps_hz
    (slowest, right), (fastest, left) = percentiles(rates)
    speed = Axis(
        name="speed",
        unit="m/s",
        low=min(float(slowest), 0.0),
        high=float(fastest),
        rest=float(np.median(rates[:, 0])),
        keys=(("KeyS", "ArrowDown"), ("KeyW", "ArrowUp")),
        stick="left-y",
    )
    turn = Axis(
        name="turn_left",
        unit="rad/s",
        low=min(float(right), 0.0),
        high=max(float(left), 0.0),
        keys=(("KeyD", "ArrowRight"), ("KeyA", "ArrowLeft")),
        stick="left-x",
        stick_sign=-1,
    )
    return tuple(axis for axis in (speed, turn) if axis.high - axis.low > 1e-6)


def extend(last: Mapping[str, np.ndarray], commands: Mapping[str, np.ndarray], fps_hz: float) -> dict[str, np.ndarray]:
    """Ego poses, in the plane of the last one; cameras with a recorded pose keep their place on the vehicle."""
    frames = len(next(iter(commands.values())))
    speed_T, turn_T = (np.asarray(commands.get(name, np.zeros(frames))) / fps_hz for name in ("speed", "turn_left"))
    yaw_T = np.cumsum(turn_T)
    # A frame's way goes in its mean direction, so that a constant command is a circle.
    heading_T = yaw_T - turn_T / 2
    moved_M44 = np.tile(np.eye(4), (frames + 1, 1, 1))
    moved_M44[1:, 0, 3] = np.cumsum(speed_T * np.cos(heading_T))
    moved_M44[1:, 1, 3] = np.cumsum(speed_T * np.sin(heading_T))
    moved_M44[1:, 0, 0] = moved_M44[1:, 1, 1] = np.cos(yaw_T)
    moved_M44[1:, 1, 0], moved_M44[1:, 0, 1] = np.sin(yaw_T), -np.sin(yaw_T)
    return _driven(last, moved_M44)


def follow(
    path: Path, last: Mapping[str, np.ndarray], fps_hz: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A way in a CSV file, laid so that its first row is where the vehicle is and looks now."""
    table_N4 = read_csv(path)
    path_M44 = world_from_ego(table_N4, frame_times_s(table_N4[:, 0], fps_hz))
    moved_M44 = np.linalg.inv(path_M44[0]) @ path_M44
    poses_M3 = planar(moved_M44)
    rates_T3 = planar_between(poses_M3[:-1], poses_M3[1:]) * fps_hz
    # The chord, with the sign of forward: sideways drift in a turn is no speed of its own.
    speed_T = np.copysign(np.linalg.norm(rates_T3[:, :2], axis=1), rates_T3[:, 0])
    return _driven(last, moved_M44), {"speed": speed_T, "turn_left": rates_T3[:, 2]}


def _driven(last: Mapping[str, np.ndarray], moved_M44: np.ndarray) -> dict[str, np.ndarray]:
    """COMMANDS of a vehicle that takes this way from its last place; recorded cameras ride along."""
    start_44 = np.asarray(last[WORLD_FROM_EGO], np.float64)
    ego_M44 = start_44 @ moved_M44
    result = {WORLD_FROM_EGO: ego_M44}
    if WORLD_FROM_CAMERA in last:
        ego_from_camera_V44 = np.linalg.inv(start_44) @ np.asarray(last[WORLD_FROM_CAMERA], np.float64)
        result[WORLD_FROM_CAMERA] = ego_M44[None] @ ego_from_camera_V44[:, None]
    return result
