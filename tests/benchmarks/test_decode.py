"""Both ways of reading a window return the same frames."""

import pytest

from benchmarks.decode import measure, write_synthetic


def test_a_window_equals_the_cut_of_the_whole_clip(tmp_path):
    path = write_synthetic(tmp_path / "clip.mp4", num_frames=40, width_px=64)
    result = measure(path, 9, rounds=3)
    assert result["num_frames"] == 40
    assert result["speedup"] > 0


def test_a_clip_too_short_is_an_error(tmp_path):
    path = write_synthetic(tmp_path / "clip.mp4", num_frames=5, width_px=64)
    with pytest.raises(ValueError, match="5 frames are too few for windows of 9"):
        measure(path, 9, rounds=1)
