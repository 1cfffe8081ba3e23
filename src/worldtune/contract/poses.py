"""Rigid poses: the one check of them, from other conventions to ours, in between, and on the ground.

Camera axes: OpenCV, x right, y down, z forward. Ego axes: x forward, y left, z up. A planar pose is x, y in m and yaw
in rad, counter-clockwise.

Shape legend: N poses, T frames; 44 is a 4x4 matrix.
"""

import numpy as np
from numpy.typing import NDArray

ROTATION_TOLERANCE = 1e-2
"""Largest entry of R R^T - I in a rotation that was stored as float32 or rounded to a few digits."""
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


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


def rotations_from_quaternions(wxyz_T4: NDArray[np.floating], source: str) -> NDArray[np.float64]:
    """Quaternions, real part first, of any length but 0 -> rotations, float64 [T,3,3]. ValueError naming the source."""
    norms = np.linalg.norm(wxyz_T4, axis=-1, keepdims=True)
    if (norms < 1e-6).any():
        raise ValueError(f"{source} has a quaternion of length 0 at frame {int(np.argmin(norms[:, 0]))}")
    w, x, y, z = (wxyz_T4 / norms).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def rigid(rotations_T33: NDArray[np.floating], translations_T3: NDArray[np.floating]) -> NDArray[np.float64]:
    """Transforms float64 [T,4,4] that rotate, then shift."""
    result = np.tile(np.eye(4), (len(rotations_T33), 1, 1))
    result[:, :3, :3], result[:, :3, 3] = rotations_T33, translations_T3
    return result


def inverse(transforms_T44: NDArray[np.floating]) -> NDArray[np.float64]:
    """Inverses of rigid transforms."""
    turned = transforms_T44[:, :3, :3].swapaxes(1, 2)
    return rigid(turned, -(turned @ transforms_T44[:, :3, 3:])[:, :, 0])


def opencv_from_opengl(world_from_camera_T44: NDArray[np.floating]) -> NDArray[np.float64]:
    """Poses of cameras with OpenGL axes (x right, y up, z backward) -> the same poses with OpenCV axes.

    The world stays as it is: only the axes of the camera are renamed.
    """
    return np.asarray(world_from_camera_T44, np.float64) @ _OPENGL_FROM_OPENCV


def interpolated(places: np.ndarray, transforms_T44: NDArray[np.floating], wanted: np.ndarray) -> NDArray[np.float64]:
    """Rigid transforms known at ascending places -> those at wanted places within them, float64.

    Between two of them the position moves along a line and the rotation about a fixed axis, both at constant speed.
    """
    after = np.clip(np.searchsorted(places, wanted), 1, max(1, len(places) - 1))
    before = after - 1
    if len(places) == 1:
        return np.repeat(transforms_T44, len(wanted), axis=0)
    share = (wanted - places[before]) / (places[after] - places[before])
    start, stop = transforms_T44[before], transforms_T44[after]
    turn = start[:, :3, :3].swapaxes(1, 2) @ stop[:, :3, :3]
    angle = np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1))
    skew = (turn - turn.swapaxes(1, 2)) / 2
    axis = skew / np.maximum(np.sin(angle), 1e-12)[:, None, None]
    part = (angle * share)[:, None, None]
    partial = np.eye(3) + np.sin(part) * axis + (1 - np.cos(part)) * (axis @ axis)
    positions = start[:, :3, 3] + share[:, None] * (stop[:, :3, 3] - start[:, :3, 3])
    return rigid(start[:, :3, :3] @ partial, positions)
