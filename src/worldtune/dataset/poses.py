"""Camera poses of other conventions -> ours: camera to world, OpenCV axes (x right, y down, z forward).

Shape legend: T frames.
"""

import numpy as np

_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


def rotations_from_quaternions(wxyz_T4: np.ndarray, source: str) -> np.ndarray:
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


def rigid(rotations_T33: np.ndarray, translations_T3: np.ndarray) -> np.ndarray:
    """Transforms float64 [T,4,4] that rotate, then shift."""
    result = np.tile(np.eye(4), (len(rotations_T33), 1, 1))
    result[:, :3, :3], result[:, :3, 3] = rotations_T33, translations_T3
    return result


def inverse(transforms_T44: np.ndarray) -> np.ndarray:
    """Inverses of rigid transforms."""
    turned = transforms_T44[:, :3, :3].swapaxes(1, 2)
    return rigid(turned, -(turned @ transforms_T44[:, :3, 3:])[:, :, 0])


def opencv_from_opengl(world_from_camera_T44: np.ndarray) -> np.ndarray:
    """Poses of cameras with OpenGL axes (x right, y up, z backward) -> the same poses with OpenCV axes.

    The world stays as it is: only the axes of the camera are renamed.
    """
    return world_from_camera_T44 @ _OPENGL_FROM_OPENCV


def interpolated(places: np.ndarray, transforms_T44: np.ndarray, wanted: np.ndarray) -> np.ndarray:
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
