"""Pooling over clips and seeds."""

import numpy as np
import pytest

from worldtune.metrics.frechet import frechet_distance, ground
from worldtune.metrics.scores import (
    MEASURES,
    latent_scores,
    pixel_scores,
    pooled_difference,
    pooled_frechet,
    pooled_frechet_difference,
    pooled_mean,
)


def clouds(seed: int, num_clips: int = 6, shift: float = 0.0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal((40, 3)) + shift for _ in range(num_clips)]


def test_every_score_has_a_meaning():
    video = np.zeros((1, 3, 16, 16, 3), np.uint8)
    latent = np.zeros((1, 2, 2, 2, 4), np.float32)
    names = pixel_scores(video, video, 1).keys() | latent_scores(latent, latent, 1).keys() | {"fd_own"}
    assert names == MEASURES.keys()


def test_seeds_are_averaged_before_the_interval_over_clips():
    pooled = pooled_mean([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]], 0)
    assert pooled is not None
    assert pooled.interval.value == pytest.approx(3.0)
    assert pooled.interval.num_clips == 3
    assert pooled.per_seed == pytest.approx([2.0, 4.0])


def test_undefined_clips_are_left_out_and_counted():
    pooled = pooled_mean([[1.0, None, 3.0]], 0)
    assert pooled is not None
    assert pooled.interval.num_clips == 2
    assert pooled_mean([[None, None]], 0) is None


def test_differences_are_paired():
    pooled = pooled_difference([[5.0, None, 9.0]], [[4.0, 1.0, 8.0]], 0)
    assert pooled is not None
    assert (pooled.interval.low, pooled.interval.high) == (1.0, 1.0)
    assert pooled.interval.num_clips == 2


def test_pooled_frechet_is_the_distance_of_the_joined_clouds():
    made, real = clouds(0, shift=0.5), clouds(1)
    pooled = pooled_frechet([made], [real])
    expected = frechet_distance(np.concatenate(made), np.concatenate(real))
    assert pooled.interval.value == pytest.approx(expected)
    assert pooled.per_seed == pytest.approx([expected])
    assert pooled.interval.low is not None
    assert pooled.interval.low < expected


def test_a_worse_cloud_is_significantly_farther():
    real = clouds(2)
    difference = pooled_frechet_difference([clouds(3)], [clouds(4, shift=2.0)], [real])
    assert difference.interval.sign == -1


def test_ground_says_how_much_the_distance_stands_on():
    found = ground(clouds(5), 0)
    assert found["num_samples"] == 240
    assert found["num_features"] == 3
    assert "n too small" in found["warning"]
    assert found["real_vs_real"]["num_samples"] == [120, 120]
    assert ground(clouds(5, num_clips=1), 0)["real_vs_real"] is None
