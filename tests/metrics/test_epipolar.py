"""Epipolar geometry by hand, and matches on a picture that is known to have moved."""

from pathlib import Path

import numpy as np
import pytest

from worldtune.dataset import Dataset, Window
from worldtune.metrics.epipolar import (
    Consistency,
    consistency,
    corners,
    epipolar_scores,
    fundamental_matrix,
    matches,
    symmetric_distance_px,
)

ROOMS = Path(__file__).parents[2] / "samples/rooms"
LENS = np.array([50.0, 60.0, 32.0, 30.0])


def pose(place_m: tuple[float, float, float], turn_rad: float = 0.0) -> np.ndarray:
    """Turned about y, which points down."""
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    return np.array([[c, 0, s, place_m[0]], [0, 1, 0, place_m[1]], [-s, 0, c, place_m[2]], [0, 0, 0, 1]])


def seen(points_N3: np.ndarray, lens: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
    """Where points of the world are in the picture."""
    x, y, z = (np.linalg.inv(world_from_camera) @ np.concatenate([points_N3, np.ones((len(points_N3), 1))], 1).T)[:3]
    assert (z > 0.1).all()
    return np.stack([lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]], 1)


def points(count: int = 50) -> np.ndarray:
    return np.random.default_rng(0).uniform([-1, -1, 3], [1, 1, 8], (count, 3))


def test_what_two_cameras_see_of_one_point_lies_on_its_lines():
    a, b, other_lens = pose((0.2, 0, 0), 0.1), pose((-0.3, 0.2, 0.5), -0.2), np.array([40.0, 40, 30, 34])
    fundamental = fundamental_matrix(LENS, a, other_lens, b)
    in_a, in_b = seen(points(), LENS, a), seen(points(), other_lens, b)
    assert symmetric_distance_px(fundamental, in_a, in_b).max() < 1e-9
    backwards = fundamental_matrix(other_lens, b, LENS, a)
    assert symmetric_distance_px(backwards, in_a, in_b).min() > 1e-3


def test_distances_of_a_sideways_motion_are_differences_of_rows():
    """Lines are rows: a point 3 px too low is 3 px from its line in both pictures."""
    fundamental = fundamental_matrix(LENS, pose((0, 0, 0)), LENS, pose((1, 0, 0)))
    in_a, in_b = np.array([[10.0, 20], [40, 50]]), np.array([[3.0, 20], [30, 53]])
    assert symmetric_distance_px(fundamental, in_a, in_b) == pytest.approx([0, 3])


def test_cameras_in_one_place_have_no_lines():
    with pytest.raises(ValueError, match="stand in one place"):
        fundamental_matrix(LENS, pose((1, 2, 3)), LENS, pose((1, 2, 3), 0.5))


def noise_picture(seed: int = 0, size_px: int = 80) -> np.ndarray:
    """Smooth random colours."""
    rough = np.random.default_rng(seed).uniform(0, 255, (size_px // 4, size_px // 4, 3))
    large = np.kron(rough, np.ones((4, 4, 1)))
    smooth = sum(np.roll(large, (i, j), (0, 1)) for i in range(3) for j in range(3)) / 9
    return smooth.astype(np.uint8)


def test_matches_find_a_shift_of_any_length():
    picture = noise_picture()
    for rows, columns in ((0, 0), (2, -3), (10, 12)):
        a, b = picture[12:76, 12:76], picture[12 - rows : 76 - rows, 12 - columns : 76 - columns][:64, :64]
        b = np.pad(b, ((0, 64 - b.shape[0]), (0, 64 - b.shape[1]), (0, 0)))
        in_a, in_b = matches(a, b, corners(a), corners(b))
        moved = in_b - in_a
        assert len(moved) >= 10
        assert np.mean((moved == [columns, rows]).all(1)) > 0.9, (rows, columns)


def test_pictures_without_corners_have_no_matches():
    flat = np.full((32, 32, 3), 90, np.uint8)
    assert len(corners(flat)) == 0
    assert matches(flat, flat, corners(flat), corners(flat))[0].shape == (0, 2)


def wall(frames: int, step_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A camera that slides along a wall 2 m away: with fx 50, 0.04 m are 1 px."""
    picture, shift = noise_picture(size_px=120), round(50 * step_m / 2)
    video = np.stack([picture[20:84, shift * t : shift * t + 64] for t in range(frames)])
    return video, np.tile([50.0, 50, 32, 32], (frames, 1)), np.stack([pose((step_m * t, 0, 0)) for t in range(frames)])


def test_tsed_knows_the_path_from_a_wrong_one():
    video, lens, poses = wall(6, 0.08)
    true = consistency(video, lens, poses, gap=2)
    assert (true.tsed, true.pairs, true.matched) == (1.0, 4, 4)
    assert max(true.medians_px) < 0.1
    for wrong in ((0, 0.08, 0), (0, 0, 0.2)):
        path = np.stack([pose(tuple(step * t for step in wrong)) for t in range(6)])
        assert consistency(video, lens, path, gap=2).tsed == 0, wrong


def test_a_frozen_video_is_seen_only_when_the_camera_also_turns():
    """Without a turn F is antisymmetric, and every point lies on its own line: TSED is blind there, and says 1."""
    video, lens, poses = wall(6, 0.08)
    frozen = video[:1].repeat(6, 0)
    assert consistency(frozen, lens, poses, gap=2).tsed == 1
    for t in range(6):
        c, s = np.cos(0.1 * t), np.sin(0.1 * t)
        poses[t, :2, :2] = [[c, -s], [s, c]]
    assert consistency(frozen, lens, poses, gap=2).tsed == 0


def test_pairs_that_do_not_move_do_not_count():
    video, lens, poses = wall(4, 0.04)
    assert consistency(video, lens, poses[:1].repeat(4, 0)).tsed is None
    assert consistency(video, lens, poses, min_baseline_m=0.05).pairs == 0
    assert consistency(video, lens, poses, min_baseline_m=0.05, gap=2).pairs == 2


def test_the_threshold_is_in_widths_and_too_few_matches_are_not_consistent():
    video, lens, poses = wall(3, 0.08)
    off = poses.copy()
    off[:, 1, 3] = 0.02 * np.arange(3)
    distance_px = consistency(video, lens, off).medians_px[0]
    assert 0.1 < distance_px < 1
    assert consistency(video, lens, off, max_distance=1.01 * distance_px / 64).tsed == 1
    assert consistency(video, lens, off, max_distance=0.99 * distance_px / 64).tsed == 0
    starved = consistency(video, lens, poses, min_matches=1000)
    assert (starved.tsed, starved.matched, starved.pairs) == (0, 0, 2)


def test_recorded_cameras_fit_the_recorded_pictures_and_other_conventions_do_not():
    """The shipped rooms, through the reader: lens in px, camera to world, y down and z forward."""
    clip = Dataset.open(ROOMS).read_clip(0, 0, Window(num_frames=17, height_px=64, width_px=64))
    video, lens = clip.video_VTHWC[0, ::4], clip.features["camera.intrinsics"][0, ::4]
    poses = clip.features["camera.world_from_camera"][0, ::4].astype(np.float64)
    assert consistency(video, lens, poses).tsed == 1
    assert consistency(video, lens, poses @ np.diag([1, -1, -1, 1])).tsed == 0, "OpenGL axes"
    assert consistency(video, lens, np.linalg.inv(poses)).tsed == 0, "world to camera"
    assert consistency(video, lens * 2, poses).tsed < 1, "lens of a picture twice as large"


def test_scores_are_shares_of_all_pairs_of_all_views():
    parts = [
        Consistency(consistent=1, matched=2, pairs=4, medians_px=(0.1, 3.0)),
        Consistency(consistent=2, matched=2, pairs=2, medians_px=(0.1, 0.1)),
    ]
    assert epipolar_scores(parts) == {"tsed": 3 / 6, "tsed_matched": 4 / 6}
    still = Consistency(consistent=0, matched=0, pairs=0, medians_px=())
    assert np.isnan(epipolar_scores([still])["tsed"])
