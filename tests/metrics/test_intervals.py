"""Confidence intervals: seeded, and they cover as often as they say."""

import numpy as np
import pytest

from worldtune.metrics.intervals import Interval, bootstrap_mean, jackknife, paired_difference


def test_the_interval_is_seeded_and_holds_the_mean():
    values = list(np.random.default_rng(0).standard_normal(30))
    interval = bootstrap_mean(values, 0)
    assert interval == bootstrap_mean(values, 0)
    assert interval.value == pytest.approx(np.mean(values))
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < interval.value < interval.high
    assert interval.num_clips == 30


def test_the_bootstrap_covers_the_true_mean():
    random = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        interval = bootstrap_mean(list(random.exponential(1.0, 60)), seed)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.87 <= hits / 200 <= 0.99


def test_one_clip_gives_no_interval():
    assert bootstrap_mean([3.0], 0) == Interval(value=3.0, low=None, high=None, num_clips=1)


def test_clips_of_one_episode_are_no_further_evidence():
    """Every value three times: the interval stays that of the values once."""
    values = list(np.random.default_rng(4).standard_normal(12))
    once, thrice = bootstrap_mean(values, 0), bootstrap_mean(np.repeat(values, 3), 0, [str(i // 3) for i in range(36)])
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    careless = bootstrap_mean(np.repeat(values, 3), 0)
    assert careless.high - careless.low < 0.7 * (thrice.high - thrice.low)
    assert thrice.num_clips == 36
    of_one = bootstrap_mean(values, 0, ["same"] * 12)
    assert (of_one.low, of_one.high, of_one.value) == (None, None, pytest.approx(np.mean(values)))
    with pytest.raises(ValueError, match="12 clips, but the episodes of 2"):
        bootstrap_mean(values, 0, ["a", "b"])


def test_episodes_of_several_lengths_weigh_by_their_clips():
    interval = bootstrap_mean([0.0, 0.0, 0.0, 4.0], 0, ["a", "a", "a", "b"])
    assert (interval.value, interval.low, interval.high) == (1.0, 0.0, 4.0)


def test_no_clip_is_an_error():
    with pytest.raises(ValueError, match="no clip"):
        bootstrap_mean([], 0)


def test_paired_differences_cancel_what_clips_share():
    shared = np.random.default_rng(2).standard_normal(40) * 10
    difference = paired_difference(list(shared + 1.0), list(shared), 0)
    assert difference.value == pytest.approx(1.0)
    assert difference.low == pytest.approx(1.0)
    assert difference.sign == 1
    assert paired_difference(list(shared), list(shared + 1.0), 0).sign == -1
    with pytest.raises(ValueError, match="same clips"):
        paired_difference([1.0], [1.0, 2.0], 0)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(3).standard_normal(20)
    interval = jackknife(lambda clips: float(values[clips].mean()), 20)
    reach = 1.959964 * values.std(ddof=1) / np.sqrt(20)
    assert interval.high == pytest.approx(values.mean() + reach)
    assert interval.low == pytest.approx(values.mean() - reach)


def test_the_jackknife_leaves_out_whole_episodes():
    values = np.random.default_rng(5).standard_normal(5)
    once = jackknife(lambda clips: float(values[clips].mean()), 5)
    twice = np.repeat(values, 2)
    both = jackknife(lambda clips: float(twice[clips].mean()), 10, [str(i // 2) for i in range(10)])
    assert (both.low, both.high) == pytest.approx((once.low, once.high))


def test_the_jackknife_needs_three_groups():
    assert jackknife(lambda clips: float(len(clips)), 2) == Interval(value=2.0, low=None, high=None, num_clips=2)
