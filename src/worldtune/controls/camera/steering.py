"""Commanded camera motion: walking speeds and turning rates -> poses.

Shape legend: V views, T frames, N axes, M poses; 44 is a 4x4 matrix.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.steering import Axis, percentiles

WORLD_FROM_CAMERA = "camera.world_from_camera"
COMMANDS = (WORLD_FROM_CAMERA,)

MOTIONS: tuple[tuple[str, str, tuple[tuple[str, ...], tuple[str, ...]], str], ...] = (
    ("forward", "m/s", (("KeyS",), ("KeyW",)), "left-y"),
    ("right", "m/s", (("KeyA",), ("KeyD",)), "left-x"),
    ("up", "m/s", (("KeyF",), ("KeyR",)), ""),
    ("turn_right", "rad/s", (("ArrowLeft", "KeyQ"), ("ArrowRight", "KeyE")), "right-x"),
    ("look_up", "rad/s", (("ArrowDown",), ("ArrowUp",)), "right-y"),
)
"""Name, unit, keys and stick of each axis. Forward and right are level, whatever the camera's pitch."""
STILL = 0.02
"""An axis on which the training cameras go slower than this share of the fastest one of its kind is none."""
STEEPEST_RAD = 1.2
"""The camera looks no further up or down: beyond, ahead and behind would change places."""
LEVEL = 0.02
"""Sine of the largest angle between a camera's x axis and the horizon at which it counts as not rolled."""


def axes(recorded: Sequence[Mapping[str, np.ndarray]], fps_hz: float) -> tuple[Axis, ...]:
    """Ranges are what the first camera of the training episodes does, leaving out the fastest 2.5 % on both sides."""
    low, high = percentiles(np.concatenate([_speeds(part[WORLD_FROM_CAMERA][0]) for part in recorded]) * fps_hz)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    reach = np.maximum(-low, high)
    kinds = {unit: max(reach[i] for i, motion in enumerate(MOTIONS) if motion[1] == unit) for unit in ("m/s", "rad/s")}
    return tuple(
        Axis(name=name, unit=unit, low=float(low[i]), high=float(high[i]), keys=keys, stick=stick)
        for i, (name, unit, keys, stick) in enumerate(MOTIONS)
        if reach[i] > max(STILL * kinds[unit], 1e-6)
    )


def extend(last: Mapping[str, np.ndarray], commands: Mapping[str, np.ndarray], fps_hz: float) -> dict[str, np.ndarray]:
    """Poses of all cameras, which move as one rigid body with the first."""
    cameras_V44 = np.asarray(last[WORLD_FROM_CAMERA], np.float64)
    first_from_rig_V44 = np.linalg.inv(cameras_V44[0]) @ cameras_V44
    frames = len(next(iter(commands.values())))
    rates_T5 = np.stack([np.asarray(commands.get(name, np.zeros(frames)), np.float64) for name, *_ in MOTIONS], -1)
    path_M44 = [cameras_V44[0]]
    up = vertical(cameras_V44[0])
    for rates in rates_T5 / fps_hz:
        path_M44.append(_moved(path_M44[-1], up, rates))
    poses_VM44 = np.stack(path_M44)[None] @ first_from_rig_V44[:, None]
    return {WORLD_FROM_CAMERA: poses_VM44}


def vertical(world_from_camera_44: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unit vector in the world about which the camera turns.

    The world axis nearest to the camera's own up, if the camera's horizon is level to it; else, in a world whose axes
    mean nothing (structure from motion), the camera's up.
    """
    rotation = np.asarray(world_from_camera_44, np.float64)[:3, :3]
    own = -rotation[:, 1]
    axis = np.zeros(3)
    nearest = int(np.abs(own).argmax())
    axis[nearest] = np.sign(own[nearest])
    return axis if abs(rotation[:, 0] @ axis) < LEVEL else own


def _moved(pose_44: NDArray[np.float64], up: NDArray[np.float64], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """One frame later; rates: metres and radians per frame, in the order of MOTIONS."""
    forward, right, rise, turn, look = rates
    right_axis = pose_44[:3, 0]
    if abs(np.arcsin(np.clip(pose_44[:3, 2] @ up, -1, 1)) + look) > STEEPEST_RAD:
        look = 0.0
    ahead = np.cross(up, right_axis)
    ahead /= np.linalg.norm(ahead)
    result = np.eye(4)
    result[:3, 3] = pose_44[:3, 3] + forward * ahead + right * np.cross(ahead, up) + rise * up
    result[:3, :3] = _about(up, -turn) @ _about(right_axis, look) @ pose_44[:3, :3]
    return result


def _about(axis: NDArray[np.float64], angle_rad: float) -> NDArray[np.float64]:
    """Rotation about a unit vector, counter-clockwise seen from its tip (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * (cross @ cross)


def _speeds(poses_M44: NDArray[np.floating]) -> NDArray[np.float64]:
    """Per step, the rates that `_moved` would need, [M-1,5]."""
    poses = np.asarray(poses_M44, np.float64)
    rows = []
    for before, after in pairwise(poses):
        up = vertical(before)
        ahead = np.cross(up, before[:3, 0])
        ahead /= np.linalg.norm(ahead)
        step = after[:3, 3] - before[:3, 3]
        level = np.stack([ahead, np.cross(ahead, up), up])
        was, now = level @ before[:3, 2], level @ after[:3, 2]
        turn = np.arctan2(now[1], now[0]) - np.arctan2(was[1], was[0])
        look = np.arcsin(np.clip(now[2], -1, 1)) - np.arcsin(np.clip(was[2], -1, 1))
        rows.append([*(level @ step), (turn + np.pi) % (2 * np.pi) - np.pi, look])
    return np.array(rows).reshape(-1, len(MOTIONS))
