"""Rigid poses: the one check of them, and those on the ground.

Ego axes: x forward, y left, z up. A planar pose is x, y in m and yaw in rad, counter-clockwise.

Shape legend: N poses, T frames; 44 is a 4x4 matrix.
"""

import numpy as np
from numpy.typing import NDArray

ROTATION_TOLERANCE = 1e-2
"""Largest entry of R R^T - I in a rotation that was stored as float32 or rounded to a few digits."""


def require_poses(poses: NDArray[np.floating], where: str) -> None:
    """ValueError starting with `where` unless every matrix of [..., T, 4, 4] is a rotation and a translation."""
    if poses.shape[-2:] != (4, 4):
        raise ValueError(f"{where}: wanted 4x4 matrices, got {list(poses.shape[-2:])}")
    if not np.isfinite(poses).all():
        raise ValueError(f"{where}: holds values that are not finite")
    last = poses[..., 3, :].reshape(-1, 4)
    if len(wrong := last[~np.isclose(last, [0, 0, 0, 1], atol=1e-4).all(1)]):
        got = " ".join(f"{x:g}" for x in wrong[0])
        raise ValueError(f"{where}: the last row of a pose must be 0 0 0 1, got {got}: is the matrix transposed?")
    rotations = poses[..., :3, :3].astype(np.float64)
    off = np.abs(rotations @ np.swapaxes(rotations, -1, -2) - np.eye(3)).max((-1, -2))
    for bad, why in (
        (off > ROTATION_TOLERANCE, f"R R^T is off the identity by {off.max():.2g}"),
        (np.linalg.det(rotations) < 0, "it mirrors"),
    ):
        if bad.any():
            frame = int(np.argwhere(bad)[0, -1])
            raise ValueError(f"{where}: the matrix of frame {frame} is no rotation and translation, {why}")


def planar(world_from_ego_N44: NDArray[np.floating]) -> NDArray[np.float64]:
    """x, y and yaw on the ground, [N,3]."""
    poses = world_from_ego_N44.astype(np.float64)
    return np.stack([poses[:, 0, 3], poses[:, 1, 3], np.arctan2(poses[:, 1, 0], poses[:, 0, 0])], -1)


def planar_between(start_N3: NDArray[np.floating], end_N3: NDArray[np.floating]) -> NDArray[np.float64]:
    """Planar pose of the end in the frame of the start, yaw in -pi..pi, [N,3]."""
    dx, dy, turn = (end_N3 - start_N3).astype(np.float64).T
    cos, sin = np.cos(start_N3[:, 2]), np.sin(start_N3[:, 2])
    yaw = (turn + np.pi) % (2 * np.pi) - np.pi
    return np.stack([cos * dx + sin * dy, -sin * dx + cos * dy, yaw], -1)


def rotations_from_euler(angles_T3: NDArray[np.floating]) -> NDArray[np.float64]:
    """Roll, pitch, yaw in rad -> Rz(yaw) Ry(pitch) Rx(roll), [T, 3, 3]."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles_T3).T, np.sin(angles_T3).T
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def euler_from_rotations(rotations_T33: NDArray[np.floating]) -> NDArray[np.float64]:
    """The inverse, pitch in -pi/2..pi/2; at its ends roll and yaw are not unique."""
    r = np.asarray(rotations_T33, np.float64)
    roll = np.arctan2(r[:, 2, 1], r[:, 2, 2])
    pitch = np.arctan2(-r[:, 2, 0], np.hypot(r[:, 0, 0], r[:, 1, 0]))
    yaw = np.arctan2(r[:, 1, 0], r[:, 0, 0])
    return np.stack([roll, pitch, yaw], axis=1)
