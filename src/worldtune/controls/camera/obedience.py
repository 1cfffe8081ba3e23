"""Whether a clip shows the commanded camera path.

A probe reads from the video, for every latent frame, how the camera moved; `errors` compares that with the command.
The published errors read poses by structure from motion, which does not run on pictures of 64 px and drops the clips
in which it fails; a probe answers for every clip, and its own error on real clips is the ceiling to compare with.

Shape legend: T latent frames, R pixel frames of one latent frame, V views, D numbers of all views (6 V).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure, Reading

NUMBERS = 6
"""Per view: rotation vector in rad (3), translation in m (3)."""

READING = Reading()

MEASURES: dict[str, Measure] = {
    "camera_path_rotation_deg": Measure(
        label="camera path, rotation error, deg",
        better="lower",
        decimals=2,
        meaning="How far the camera's heading is from the commanded one, seen from the last given frame, averaged "
        "over the frames that were made. Read from the video by a probe.",
    ),
    "camera_path_translation_m": Measure(
        label="camera path, position error, m",
        better="lower",
        decimals=3,
        meaning="How far the camera's place is from the commanded one, seen from the last given frame, averaged over "
        "the frames that were made. Metres, without any fit of scale.",
    ),
    "camera_step_rotation_deg": Measure(
        label="camera step, rotation error, deg",
        better="lower",
        decimals=2,
        meaning="Error of the rotation from one latent frame to the next; unlike the path it does not add up.",
    ),
    "camera_step_translation_m": Measure(
        label="camera step, position error, m",
        better="lower",
        decimals=3,
        meaning="Error of the motion from one latent frame to the next; unlike the path it does not add up.",
    ),
}


def targets(arrays: Mapping[str, Any]) -> NDArray[np.float32]:
    """What a probe reads from the video, float32 [T,6V], views one after another.

    arrays: those of `align`, of one clip. Row k: motion of the camera from pixel frame (k-1)R to kR, seen from the
    camera at (k-1)R, as rotation vector in rad and translation in m. Row 0 is zero.
    """
    last_VT44 = np.asarray(arrays["first_from_camera"], np.float64)[:, :, -1]
    previous_from_camera = np.linalg.inv(last_VT44[:, :-1]) @ last_VT44[:, 1:]
    steps_VT6 = np.concatenate(
        [rotation_vectors(previous_from_camera[..., :3, :3]), previous_from_camera[..., :3, 3]], axis=-1
    )
    rows_TV6 = np.pad(steps_VT6, ((0, 0), (1, 0), (0, 0))).swapaxes(0, 1)
    return np.ascontiguousarray(rows_TV6.reshape(len(rows_TV6), -1), np.float32)


def errors(read_TD: np.ndarray, commanded_TD: np.ndarray, num_observed: int) -> dict[str, float]:
    """MEASURES of one clip; both arguments as `targets` gives them.

    Steps into latent frames that were not observed (num_observed leading ones were; without any, latent frame 0 is
    the start) are put one after another to poses relative to the last observed frame. With R, t the commanded and
    R', t' the read pose, the path errors are the means over frames and views of arccos((tr(R' R^T) - 1) / 2) and of
    |t' - t|, as in Cosmos-1 (arXiv 2501.03575, section 6.1) and CamCo (arXiv 2406.02509). Unlike there nothing is
    aligned or rescaled, since the given frame fixes the pose and lengths are metres: do not compare with their
    tables. ValueError when nothing is left to judge.
    """
    if read_TD.shape != commanded_TD.shape or read_TD.shape[1] % NUMBERS:
        raise ValueError(f"camera motion read is {list(read_TD.shape)}, commanded {list(commanded_TD.shape)}")
    first = max(1, num_observed)
    if first >= len(read_TD):
        raise ValueError(f"all {len(read_TD)} latent frames are observed: there is no camera path to judge")
    read, commanded = _steps(read_TD[first:]), _steps(commanded_TD[first:])
    path_rotation_rad, path_translation_m = _differences(_chained(read), _chained(commanded))
    step_rotation_rad, step_translation_m = _differences(read, commanded)
    return {
        "camera_path_rotation_deg": float(np.degrees(path_rotation_rad)),
        "camera_path_translation_m": path_translation_m,
        "camera_step_rotation_deg": float(np.degrees(step_rotation_rad)),
        "camera_step_translation_m": step_translation_m,
    }


def _steps(motion_TD: np.ndarray) -> np.ndarray:
    """Rows of `targets` -> rigid transforms [T,V,4,4]."""
    numbers_TV6 = np.asarray(motion_TD, np.float64).reshape(len(motion_TD), -1, NUMBERS)
    result = np.zeros((*numbers_TV6.shape[:2], 4, 4))
    result[..., :3, :3] = rotations(numbers_TV6[..., :3])
    result[..., :3, 3] = numbers_TV6[..., 3:]
    result[..., 3, 3] = 1
    return result


def _chained(steps_TV44: np.ndarray) -> np.ndarray:
    """Poses after each step, seen from where the first one starts."""
    poses = [steps_TV44[0]]
    for step_V44 in steps_TV44[1:]:
        poses.append(poses[-1] @ step_V44)
    return np.stack(poses)


def _differences(read_TV44: np.ndarray, commanded_TV44: np.ndarray) -> tuple[float, float]:
    """(mean angle in rad, mean distance in m)."""
    between = np.swapaxes(commanded_TV44[..., :3, :3], -1, -2) @ read_TV44[..., :3, :3]
    angles_rad = np.linalg.norm(rotation_vectors(between), axis=-1)
    distances_m = np.linalg.norm(read_TV44[..., :3, 3] - commanded_TV44[..., :3, 3], axis=-1)
    return float(angles_rad.mean()), float(distances_m.mean())


def rotation_vectors(rotations: np.ndarray) -> np.ndarray:
    """Rotation matrices [...,3,3] -> axis times angle in rad [...,3], angle in 0..pi.

    By way of the quaternion, whose largest component is well-conditioned: arccos of the trace would lose small
    angles to rounding, and the antisymmetric part alone would lose those near pi.
    """
    r = np.asarray(rotations, np.float64)
    trace = np.trace(r, axis1=-2, axis2=-1)
    diagonal = np.stack([r[..., i, i] for i in range(3)], -1)
    # Four times the outer product of the quaternion (w, x, y, z) with itself: any row is parallel to it.
    outer = np.empty((*r.shape[:-2], 4, 4))
    outer[..., 0, 0] = 1 + trace
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        outer[..., i + 1, i + 1] = 1 + 2 * diagonal[..., i] - trace
        outer[..., 0, i + 1] = outer[..., i + 1, 0] = r[..., k, j] - r[..., j, k]
        outer[..., j + 1, k + 1] = outer[..., k + 1, j + 1] = r[..., k, j] + r[..., j, k]
    largest = np.diagonal(outer, axis1=-2, axis2=-1).argmax(-1)
    quaternion = np.take_along_axis(outer, largest[..., None, None], axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = quaternion * np.where(quaternion[..., :1] < 0, -1, 1)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def rotations(vectors: np.ndarray) -> np.ndarray:
    """Axis times angle in rad [...,3] -> rotation matrices [...,3,3] (Rodrigues)."""
    vectors = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    cross = np.zeros((*vectors.shape[:-1], 3, 3))
    cross[..., 2, 1], cross[..., 0, 2], cross[..., 1, 0] = (vectors[..., i] for i in range(3))
    cross -= np.swapaxes(cross, -1, -2)
    # sin(a)/a and (1-cos(a))/a^2 by sinc, which is exact at zero.
    sine, cosine = np.sinc(angle / np.pi), np.sinc(angle / (2 * np.pi)) ** 2 / 2
    return np.eye(3) + sine * cross + cosine * cross @ cross
