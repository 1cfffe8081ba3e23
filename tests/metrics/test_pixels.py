"""Pixel measures against closed forms."""

import math

import numpy as np
import pytest

from worldtune.metrics.pixels import (
    PSNR_LIMIT_DB,
    dynamic_mask,
    dynamic_psnr_db,
    psnr_db,
    psnr_per_frame_db,
    ssim,
)


def clip(value: int = 100, frames: int = 5, size: int = 16) -> np.ndarray:
    return np.full((1, frames, size, size, 3), value, np.uint8)


def noise(seed: int, frames: int = 3, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, frames, size, size, 3), dtype=np.uint8)


def test_identical_clips_reach_the_rounding_limit():
    assert psnr_db(clip(), clip(), 1) == pytest.approx(PSNR_LIMIT_DB)
    assert pytest.approx(58.92, abs=0.01) == PSNR_LIMIT_DB
    assert ssim(noise(0), noise(0), 1) == pytest.approx(1.0)


def test_psnr_of_a_known_error():
    assert psnr_db(clip(110), clip(100), 1) == pytest.approx(10 * math.log10(255**2 / 100))


def test_psnr_is_symmetric_and_does_not_wrap_around():
    assert psnr_db(clip(0), clip(255), 1) == pytest.approx(0.0)
    assert psnr_db(clip(255), clip(0), 1) == pytest.approx(0.0)


def test_observed_frames_are_not_counted():
    made, real = clip(), clip()
    made[:, :2] = 0
    assert psnr_db(made, real, 2) == pytest.approx(PSNR_LIMIT_DB)
    assert psnr_db(made, real, 1) < 20


def test_per_frame_psnr_has_one_value_per_unobserved_frame():
    made, real = clip(frames=4), clip(frames=4)
    made[:, 2] += 10
    assert psnr_per_frame_db(made, real, 1) == pytest.approx(
        [PSNR_LIMIT_DB, 10 * math.log10(255**2 / 100), PSNR_LIMIT_DB]
    )


def test_psnr_per_clip_averages_the_error_and_not_the_decibels():
    made, real = clip(frames=3), clip(frames=3)
    made[:, 1] += 10
    made[:, 2] += 20
    assert psnr_db(made, real, 1) == pytest.approx(10 * math.log10(255**2 / 250))


def test_ssim_of_constant_images_is_the_luminance_term():
    a, b, c1 = 100.0, 120.0, (0.01 * 255) ** 2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert ssim(clip(100), clip(120), 1) == pytest.approx(expected, abs=3e-4)


def test_ssim_of_unrelated_noise_is_near_zero():
    assert abs(ssim(noise(1), noise(2), 1)) < 0.1


def test_ssim_says_when_the_window_does_not_fit():
    with pytest.raises(ValueError, match="at least 11 px, got 8 x 8"):
        ssim(clip(size=8), clip(size=8), 1)


def moving_square() -> np.ndarray:
    video = clip(50, frames=4)
    for frame in range(4):
        video[:, frame, 4:6, 2 + 3 * frame : 4 + 3 * frame] = 250
    return video


def test_dynamic_mask_covers_where_the_square_was_and_is_with_a_margin():
    mask = dynamic_mask(moving_square(), 1)
    assert mask.shape == (1, 3, 16, 16)
    expected = np.zeros((16, 16), bool)
    expected[3:7, 1:5] = True
    expected[3:7, 4:8] = True
    assert (mask[0, 0] == expected).all()


def test_dynamic_psnr_ignores_errors_elsewhere():
    real = moving_square()
    made = real.copy()
    made[:, :, 12:] = 255
    assert dynamic_psnr_db(made, real, 1) == pytest.approx(PSNR_LIMIT_DB)
    assert psnr_db(made, real, 1) < 20


def test_dynamic_psnr_sees_a_copy_of_the_last_frame():
    real = moving_square()
    copy = np.repeat(real[:, :1], 4, axis=1)
    value = dynamic_psnr_db(copy, real, 1)
    assert value is not None
    assert value < psnr_db(copy, real, 1) - 5


def test_dynamic_psnr_of_a_still_clip_is_none():
    assert dynamic_psnr_db(clip(), clip(), 1) is None


def test_every_view_counts():
    real = np.concatenate([clip(), clip()])
    made = real.copy()
    made[1] += 10
    assert psnr_db(made, real, 1) == pytest.approx(10 * math.log10(255**2 / 50))


@pytest.mark.parametrize(
    ("made", "real", "observed", "words"),
    [
        (clip(), clip(frames=6), 1, "differ in shape"),
        (clip().astype(np.float32), clip(), 1, "must be uint8"),
        (clip(), clip(), 5, "leave nothing"),
    ],
)
def test_bad_clips_are_refused(made: np.ndarray, real: np.ndarray, observed: int, words: str):
    with pytest.raises(ValueError, match=words):
        psnr_db(made, real, observed)
