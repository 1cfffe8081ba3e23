"""Cameras that show one scene agree; views that are late, exchanged, foreign, still or blurred do not."""

from pathlib import Path

import numpy as np
import pytest

from recipes.spoilt import SPOILT, cross_view_table
from worldtune.metrics import crossview
from worldtune.metrics.crossview import Rig

SIDE_PX, FRAMES, GAP, WALL_M = 32, 9, 2, 6.0
SAMPLES = Path(__file__).parents[2] / "samples"


def turned(yaw_rad: float, x_m: float) -> np.ndarray:
    """A camera that looks to the right by an angle, somewhere along x."""
    pose = np.eye(4)
    pose[0, 0], pose[0, 2], pose[0, 3] = np.cos(yaw_rad), np.sin(yaw_rad), x_m
    pose[2, 0], pose[2, 2] = -np.sin(yaw_rad), np.cos(yaw_rad)
    return pose


def rig_of(*yaws_rad: float) -> Rig:
    poses = np.stack([turned(yaw, 0.5 * place) for place, yaw in enumerate(yaws_rad)])
    lens = np.tile([30.0, 30.0, SIDE_PX / 2, SIDE_PX / 2], (len(poses), 1))
    return Rig(lens_V4=lens, first_from_camera_V44=poses, height_px=SIDE_PX, width_px=SIDE_PX)


RIG = rig_of(0.0, 0.5, -0.5)


def film(seed: int, rig: Rig = RIG) -> np.ndarray:
    """A painted wall at z = WALL_M that moves to the left, exactly as each camera of the rig sees it."""
    draw = np.random.default_rng(seed)
    waves_M2, phases_MC = draw.normal(0, 1.0, (12, 2)), draw.uniform(0, 6, (12, 3))
    row, column = np.indices((SIDE_PX, SIDE_PX)) + 0.5
    views = []
    for (fx, fy, cx, cy), pose in zip(rig.lens_V4, rig.first_from_camera_V44, strict=True):
        ray = np.stack([(column - cx) / fx, (row - cy) / fy, np.ones_like(row)], -1) @ pose[:3, :3].T
        place = pose[:3, 3] + ray * ((WALL_M - pose[2, 3]) / ray[..., 2:])
        angles = (place[None, ..., :2] + np.arange(FRAMES)[:, None, None, None] * [0.2, 0]) @ waves_M2.T
        views.append(np.cos(angles[..., None] + phases_MC).mean(-2))
    return (127 + 250 * np.stack(views)).clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def ranges() -> crossview.Ranges:
    return crossview.typical_ranges(((crossview.small(film(seed)), RIG) for seed in range(8)), GAP)


def scores(made: np.ndarray, real: np.ndarray, ranges: crossview.Ranges, first: int = 1) -> dict[str, float]:
    pictures = crossview.small(made), crossview.small(real)
    return crossview.cross_view_scores(*pictures, crossview.overlaps(RIG, ranges), GAP, first)


def test_ranges_are_those_of_the_scene(ranges: crossview.Ranges) -> None:
    assert ranges.keys() == {(0, 1), (0, 2)}, "the side cameras look away from each other"
    nearness_HW = ranges[0, 1]
    row, column = np.indices((SIDE_PX, SIDE_PX)) + 0.5
    ray = np.stack([(column - 16) / 30, (row - 16) / 30, np.ones_like(row)], -1)
    wanted_HW = 1 / (WALL_M * np.linalg.norm(ray, axis=-1))
    known = ~np.isnan(nearness_HW)
    assert 0.2 < known.mean() < 0.6
    assert known[:, -3:].any()
    assert not known[:, :8].any(), "what the right camera sees is on the right"
    assert np.median(np.abs(nearness_HW - wanted_HW)[known]) < 1 / (30 * 0.5), "a step of one pixel of parallax"


def test_exact_views_agree_and_spoilt_ones_do_not(ranges: crossview.Ranges) -> None:
    real = film(100)
    true = scores(real, real, ranges)
    assert true["cross_view_error"] < 0.1
    assert true["cross_view_change"] == 1
    assert true["exchange_noticed"] == 1
    for name, spoil in SPOILT.items():
        if name != "untouched":
            assert scores(spoil(real), real, ranges)["cross_view_error"] > true["cross_view_error"] + 0.02, name
    foreign = np.stack([real[0], film(101)[1], film(102)[2]])
    assert scores(foreign, real, ranges)["cross_view_error"] > 0.7
    assert scores(real[[0, 2, 1]], real, ranges)["exchange_noticed"] < 1
    still = scores(SPOILT["still"](real), real, ranges)
    assert still == {"cross_view_error": 1, "cross_view_change": 0, "exchange_noticed": 0}


def test_given_frames_do_not_count(ranges: crossview.Ranges) -> None:
    real = film(100)
    made = real.copy()
    made[1:, : FRAMES - GAP] = film(101)[1:, : FRAMES - GAP]
    late = scores(made, real, ranges, first=FRAMES - 1)["cross_view_error"]
    assert late > scores(real, real, ranges, first=FRAMES - 1)["cross_view_error"]
    made[1:, FRAMES - 1 - GAP] = real[1:, FRAMES - 1 - GAP]
    assert scores(made, real, ranges, first=FRAMES - 1)["cross_view_error"] == pytest.approx(
        scores(real, real, ranges, first=FRAMES - 1)["cross_view_error"]
    )


def test_what_cannot_be_judged_says_so(ranges: crossview.Ranges) -> None:
    held = SPOILT["still"](film(100))
    assert np.isnan(list(scores(film(101), held, ranges).values())).all(), "nothing moves in the true clip"
    apart = rig_of(0.0, 2.5)
    with pytest.raises(ValueError, match="no two cameras overlap"):
        crossview.typical_ranges([(crossview.small(film(0, apart)), apart)], GAP)
    with pytest.raises(ValueError, match="a clip of 2 frames shows no change over 2"):
        scores(film(0)[:, :2], film(0)[:, :2], ranges)
    poses = np.tile(RIG.first_from_camera_V44[:, None], (1, FRAMES, 1, 1))
    lens = np.tile(RIG.lens_V4[:, None], (1, FRAMES, 1))
    assert np.allclose(crossview.rig_of(lens, poses, 32, 32).first_from_camera_V44, RIG.first_from_camera_V44)
    poses[1, 3, 0, 3] += 0.1
    with pytest.raises(ValueError, match="move against one another"):
        crossview.rig_of(lens, poses, 32, 32)


def test_large_pictures_are_judged_as_small_ones(ranges: crossview.Ranges) -> None:
    large = np.repeat(np.repeat(film(100), 4, axis=2), 4, axis=3)
    assert crossview.small(large).shape == (3, FRAMES, 64, 64, 3)
    scaled = RIG.scaled(64, 64)
    assert scaled.lens_V4[0].tolist() == [60, 60, 32, 32]


def test_the_untouched_street_ranks_first() -> None:
    table = {name: row["cross_view_error"] for name, row in cross_view_table(SAMPLES / "street", 4, 8).items()}
    ranked = sorted(table, key=table.__getitem__)
    assert ranked[0] == "untouched"
    assert all(table[name] > 1.2 * table["untouched"] for name in ranked[1:])
    far = {"left and right exchanged", "front and left exchanged", "still", "side cameras of other clips"}
    assert all(table[name] > 0.9 for name in far)
