"""Resampling: nearest in time, and pixels and intrinsics that move together in space."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.video.resample import frame_indices, nearest_frames, resize, resized_intrinsics, uniform_times_s

SIZES = st.integers(8, 80)


@settings(max_examples=50, deadline=None)
@given(start=st.integers(0, 50), num_frames=st.integers(1, 40), source_hz=st.floats(5, 60), share=st.floats(0.1, 1))
def test_frame_indices_are_the_nearest(start: int, num_frames: int, source_hz: float, share: float) -> None:
    indices = frame_indices(start, num_frames, source_hz, source_hz * share)
    wanted = start + np.arange(num_frames) / share
    assert indices[0] == start
    assert np.abs(indices - wanted).max() <= 0.5 + 1e-6
    assert (np.diff(indices) >= 1).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 0.3), min_size=1, max_size=30), st.floats(1, 60))
def test_nearest_frames_of_a_variable_rate(gaps_s: list[float], fps_hz: float) -> None:
    times_s = np.cumsum(gaps_s)
    wanted_s = uniform_times_s(times_s, fps_hz)
    chosen = nearest_frames(times_s, wanted_s)
    distances = np.abs(times_s[None] - wanted_s[:, None])
    assert np.allclose(np.take_along_axis(distances, chosen[:, None], 1)[:, 0], distances.min(1))
    assert times_s[-1] - wanted_s[-1] < 1 / fps_hz


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from(["crop", "stretch"]))
def test_transform_maps_the_pixels(height: int, width: int, height_px: int, width_px: int, how: str) -> None:
    """A picture whose colour is its own position shows, after the resize, where each pixel came from."""
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    video = np.stack([3 * x, 3 * y, 0 * x], -1).astype(np.uint8)[None]
    result, target_from_source = resize(video, height_px, width_px, how)
    assert result.shape == (1, height_px, width_px, 3)
    middle = np.array([width_px // 2 + 0.5, height_px // 2 + 0.5, 1])
    came_from = np.linalg.inv(target_from_source) @ middle
    shown = result[0, height_px // 2, width_px // 2, :2] / 3
    assert np.abs(shown - came_from[:2]).max() < 1.0


def test_intrinsics_follow_the_crop() -> None:
    _, target_from_source = resize(np.zeros((1, 40, 80, 3), np.uint8), 20, 20, "crop")
    intrinsics = np.array([60.0, 60.0, 40.0, 20.0], np.float32)
    assert resized_intrinsics(intrinsics, target_from_source) == pytest.approx([30, 30, 10, 10])


def test_same_size_is_unchanged() -> None:
    video = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
    result, target_from_source = resize(video, 8, 12)
    assert np.array_equal(result, video)
    assert np.array_equal(target_from_source, np.eye(3))


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="resize is 'pad', wanted one of crop, stretch"):
        resize(np.zeros((1, 8, 8, 3), np.uint8), 4, 4, "pad")
