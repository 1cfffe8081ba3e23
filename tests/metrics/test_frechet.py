"""Frechet distance and latent features against closed forms."""

import numpy as np
import pytest

from worldtune.metrics.frechet import Cloud, frechet_distance, halves
from worldtune.metrics.latents import latent_mse, quadrant_features


def exact_gaussian(num_samples: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Samples whose mean and covariance (n - 1) are exactly these."""
    raw = np.random.default_rng(seed).standard_normal((num_samples, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_identical_samples_have_distance_zero():
    samples = np.random.default_rng(0).standard_normal((50, 4))
    assert frechet_distance(samples, samples) == pytest.approx(0.0, abs=1e-9)


def test_a_shift_counts_its_square():
    samples = np.random.default_rng(0).standard_normal((50, 3))
    assert frechet_distance(samples, samples + [1.0, 2.0, 0.0]) == pytest.approx(5.0)


def test_diagonal_gaussians_follow_the_closed_form():
    first, second = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0])
    left = exact_gaussian(40, np.zeros(3), np.diag(first), 1)
    right = exact_gaussian(60, np.zeros(3), np.diag(second), 2)
    expected = ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    assert frechet_distance(left, right) == pytest.approx(expected)


def test_full_covariances_follow_the_matrix_square_root():
    random = np.random.default_rng(3)
    covariances = [(lambda a: a @ a.T + np.eye(4))(random.standard_normal((4, 4))) for _ in range(2)]
    left, right = (exact_gaussian(50, np.zeros(4), c, seed) for seed, c in enumerate(covariances))
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real).sum()
    expected = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * roots
    assert frechet_distance(left, right) == pytest.approx(expected)


def test_fewer_samples_than_features_is_finite():
    random = np.random.default_rng(4)
    assert np.isfinite(frechet_distance(random.standard_normal((5, 20)), random.standard_normal((7, 20))))


def test_the_floor_between_samples_of_one_gaussian_falls_with_n():
    def floor(n: int) -> float:
        random = np.random.default_rng(5)
        return frechet_distance(random.standard_normal((n, 16)), random.standard_normal((n, 16)))

    assert floor(2000) < floor(200) / 5


def test_frechet_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="widths differ"):
        frechet_distance(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="at least 2 samples"):
        frechet_distance(np.zeros((1, 2)), np.zeros((4, 2)))


def test_a_small_cloud_carries_a_warning():
    assert Cloud(num_samples=1000, num_features=32).warning == ""
    assert "n too small: 64 samples of 32 features" in Cloud(num_samples=64, num_features=32).warning


def test_halves_are_disjoint_complete_and_seeded():
    left, right = halves(9, 0)
    assert sorted(left + right) == list(range(9))
    assert (left, right) == halves(9, 0)
    assert (left, right) != halves(9, 1)


def test_quadrant_features_are_mean_and_deviation_per_channel():
    latent = np.zeros((1, 3, 4, 4, 2), np.float32)
    latent[0, 2, :2, 2:, 1] = [[1, 3], [1, 3]]
    features = quadrant_features(latent, 1)
    assert features.shape == (1 * 2 * 4, 4)
    changed = features[np.abs(features).sum(axis=1) > 0]
    assert changed.tolist() == [[0.0, 2.0, 0.0, 1.0]]


def test_wide_codecs_give_means_only():
    assert quadrant_features(np.zeros((2, 3, 4, 4, 32), np.float32), 1).shape == (16, 64)
    assert quadrant_features(np.zeros((2, 3, 4, 4, 48), np.float32), 1).shape == (16, 48)
    assert quadrant_features(np.zeros((2, 3, 4, 4, 80), np.float32), 1).shape == (16, 64)


def test_latent_mse_counts_unobserved_frames_only():
    real = np.zeros((1, 3, 2, 2, 4), np.float32)
    made = real.copy()
    made[:, 0] = 9
    made[:, 2] = 2
    assert latent_mse(made, real, 1) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="leave nothing"):
        latent_mse(made, real, 3)
