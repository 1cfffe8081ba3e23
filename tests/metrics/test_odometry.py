"""A world whose every picture is known exactly: two textured planes, a near one in front of a far one.

Shape legend: T frames, H W rows and columns, C colours; poses are world_from_camera [4,4].
"""

import numpy as np
import pytest

from worldtune.controls.camera.obedience import rotations
from worldtune.metrics.odometry import MEASURES, camera_path, looked_at, path_errors, scene, typical_motion

SIDE_PX = 64
LENS = np.array([60.0, 60.0, 32.0, 32.0])
FAR_M, NEAR_M = 3.0, 1.5


def texture(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Smooth colours over a plane, 0..255."""
    draw = np.random.default_rng(seed)
    waves = [
        np.sin(a * x + b * y + phase)[..., None] * colour
        for (a, b), phase, colour in zip(
            draw.normal(0, 5, (12, 2)), draw.uniform(0, 6, 12), draw.normal(0, 25, (12, 3)), strict=True
        )
    ]
    return np.clip(128 + sum(waves), 0, 255)


def picture(world_from_camera: np.ndarray) -> np.ndarray:
    """What the camera sees, uint8 [H,W,3]: left of x = 0 the near plane, the far one elsewhere."""
    row, column = np.indices((SIDE_PX, SIDE_PX)) + 0.5
    ray = np.stack([(column - LENS[2]) / LENS[0], (row - LENS[3]) / LENS[1], np.ones_like(row)], -1)
    ray = ray @ world_from_camera[:3, :3].T
    place = world_from_camera[:3, 3]

    def hit(depth_m: float) -> np.ndarray:
        return place + ray * ((depth_m - place[2]) / ray[..., 2])[..., None]

    near, far = hit(NEAR_M), hit(FAR_M)
    colours = np.where(near[..., :1] < 0, texture(*near[..., :2].transpose(2, 0, 1), 0), 0)
    return np.where(near[..., :1] < 0, colours, texture(*far[..., :2].transpose(2, 0, 1), 1)).astype(np.uint8)


def path(turn_rad: np.ndarray, shift_m: np.ndarray, num_frames: int = 9) -> np.ndarray:
    """Poses from a steady motion that starts somewhere in the world, [T,4,4]."""
    steps = np.tile(np.eye(4), (num_frames, 1, 1))
    share = np.arange(num_frames)[:, None]
    steps[:, :3, :3], steps[:, :3, 3] = rotations(share * turn_rad), share * shift_m
    start = np.eye(4)
    start[:3, :3], start[:3, 3] = rotations(np.array([0.02, -0.05, 0.1])), (0.1, -0.1, 0.2)
    return start @ steps


TURN, SHIFT = np.array([0.006, 0.015, 0.01]), np.array([0.03, -0.012, 0.02])
MOVING = path(TURN, SHIFT)


def clip(poses: np.ndarray) -> np.ndarray:
    """uint8 [T,H,W,3]."""
    return np.stack([picture(pose) for pose in poses])


def read(made: np.ndarray, real: np.ndarray, poses: np.ndarray, given: int = 0) -> np.ndarray:
    """The path of a made clip that shares its given frame with a real one."""
    lens = np.tile(LENS, (len(real), 1))
    real_TCHW, lens_T4 = looked_at(real, lens)
    seen = scene(real_TCHW, lens_T4, poses, given)
    return camera_path(looked_at(made, lens)[0], lens_T4, seen, given, typical_motion([poses]))


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """The clip of MOVING."""
    return clip(MOVING)


def test_depth_is_swept_out_of_the_true_clip(real: np.ndarray) -> None:
    real_TCHW, lens_T4 = looked_at(real, np.tile(LENS, (9, 1)))
    inside = scene(real_TCHW, lens_T4, MOVING, 0).nearness_HW.numpy()[8:-8, 8:-8]
    start_m = MOVING[0, 2, 3]
    assert abs(np.median(inside[:, :12]) - 1 / (NEAR_M - start_m)) < 0.03
    assert abs(np.median(inside[:, -12:]) - 1 / (FAR_M - start_m)) < 0.03


def test_the_true_clip_is_read_to_a_fraction_of_a_pixel(real: np.ndarray) -> None:
    errors = path_errors(read(real, real, MOVING), MOVING, 0)
    assert errors.keys() == MEASURES.keys()
    assert errors["odometry_rotation_deg"] < 0.3  # a pixel is 0.95 degrees, the path 8.7
    assert errors["odometry_position_m"] < 0.015  # the path is 0.31 m long


@pytest.mark.parametrize(
    ("turn", "shift"), [(-TURN, -SHIFT), (np.zeros(3), SHIFT[[1, 0, 2]]), (np.array([0, -0.02, 0]), np.zeros(3))]
)
def test_another_path_from_the_same_frame_is_read_too(real: np.ndarray, turn: np.ndarray, shift: np.ndarray) -> None:
    other = path(turn, shift)
    errors = path_errors(read(clip(other), real, MOVING), other, 0)
    assert errors["odometry_rotation_deg"] < 0.6
    assert errors["odometry_position_m"] < 0.03
    wrong = path_errors(read(clip(other), real, MOVING), MOVING, 0)
    assert wrong["odometry_rotation_deg"] > 3


def test_a_frozen_clip_misses_all_of_the_command(real: np.ndarray) -> None:
    frozen = np.repeat(real[:1], len(real), axis=0)
    errors = path_errors(read(frozen, real, MOVING), MOVING, 0)
    told = np.linalg.inv(MOVING[0]) @ MOVING[1:]
    assert errors["odometry_position_m"] == pytest.approx(np.linalg.norm(told[:, :3, 3], axis=1).mean(), abs=1e-3)
    turns_deg = np.degrees(np.arange(1, 9) * np.linalg.norm(TURN))
    assert errors["odometry_rotation_deg"] == pytest.approx(turns_deg.mean(), abs=0.1)


def test_noise_without_any_picture_moves_no_camera(real: np.ndarray) -> None:
    noise = real.copy()
    noise[1:] = np.random.default_rng(0).integers(0, 256, noise[1:].shape)
    poses = read(noise, real, MOVING)
    assert np.isfinite(poses).all()
    assert np.linalg.norm(poses[-1, :3, 3]) < 8 * np.linalg.norm(SHIFT)


def test_a_camera_that_only_turns_has_no_depth_and_is_read() -> None:
    turning = path(TURN, np.zeros(3))
    real = clip(turning)
    real_TCHW, lens_T4 = looked_at(real, np.tile(LENS, (9, 1)))
    assert not scene(real_TCHW, lens_T4, turning, 0).nearness_HW.any()
    errors = path_errors(read(real, real, turning), turning, 0)
    assert errors["odometry_rotation_deg"] < 0.3
    assert errors["odometry_position_m"] < 1e-6


def test_a_path_begins_at_the_last_given_frame(real: np.ndarray) -> None:
    poses = read(real, real, MOVING, given=4)
    assert np.array_equal(poses[:5], np.tile(np.eye(4), (5, 1, 1)))
    errors = path_errors(poses, MOVING, 4)
    assert errors["odometry_rotation_deg"] < 0.3
    assert errors["odometry_position_m"] < 0.01


def test_larger_pictures_are_made_small_with_their_lens(real: np.ndarray) -> None:
    large = np.repeat(np.repeat(real, 3, axis=1), 3, axis=2)
    small, lens_T4 = looked_at(large, np.tile(3 * LENS, (9, 1)))
    assert np.allclose(small.numpy(), real.transpose(0, 3, 1, 2), atol=1e-3)
    assert np.allclose(lens_T4.numpy(), LENS)


def test_typical_motion_is_a_root_mean_square() -> None:
    typical = typical_motion([MOVING, path(np.zeros(3), np.zeros(3))])
    assert typical.rotation_rad == pytest.approx(np.linalg.norm(TURN) / np.sqrt(2), rel=1e-6)
    still = typical_motion([path(np.zeros(3), np.zeros(3))])
    assert still.rotation_rad == still.translation_m == 1e-4
