"""Confidence intervals over episodes: pixels of a clip, and clips of one recording, are not independent.

Wherever `episodes` is asked for it names the recording of every clip; left out, every clip is its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.randomness import derived_seed

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
JACKKNIFE_GROUPS = 20
NORMAL_QUANTILE = 1.959964
"""Two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with its 95 % confidence interval; the bounds are None where a single episode gives none."""

    value: float
    low: float | None
    high: float | None
    num_clips: int

    @property
    def sign(self) -> int:
        """1 or -1 when the whole interval lies on one side of zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


def bootstrap_mean(values: Sequence[float], seed: int, episodes: Sequence[str] | None = None) -> Interval:
    """Mean over clips with its percentile bootstrap interval; whole episodes are drawn. ValueError without values."""
    if not len(values):
        raise ValueError("no clip to average over")
    array = np.asarray(values, dtype=np.float64)
    group_of_N = _groups(len(array), episodes)
    sum_G, count_G = np.bincount(group_of_N, weights=array), np.bincount(group_of_N)
    if len(sum_G) == 1:
        return Interval(value=float(array.mean()), low=None, high=None, num_clips=len(array))
    random = np.random.default_rng(derived_seed(seed, 0, "bootstrap over clips"))
    drawn_RG = random.integers(len(sum_G), size=(NUM_RESAMPLES, len(sum_G)))
    means = sum_G[drawn_RG].sum(axis=1) / count_G[drawn_RG].sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=float(array.mean()), low=float(low), high=float(high), num_clips=len(array))


def paired_difference(
    left: Sequence[float], right: Sequence[float], seed: int, episodes: Sequence[str] | None = None
) -> Interval:
    """Mean of left - right over the same clips with its bootstrap interval."""
    if len(left) != len(right):
        raise ValueError(f"paired values must be of the same clips, got {len(left)} and {len(right)}")
    return bootstrap_mean([a - b for a, b in zip(left, right, strict=True)], seed, episodes)


def jackknife(
    statistic: Callable[[list[int]], float], num_clips: int, episodes: Sequence[str] | None = None
) -> Interval:
    """A statistic of a set of clips, with a normal interval from leaving out one group of episodes at a time.

    For distances between distributions: they rise when clips are repeated, which makes a bootstrap of them wrong.
    `statistic` receives clip indices. Episodes fall into at most JACKKNIFE_GROUPS groups.
    """
    everything = list(range(num_clips))
    value = statistic(everything)
    group_of_N = _groups(num_clips, episodes)
    num_groups = min(int(group_of_N.max()) + 1, JACKKNIFE_GROUPS)
    if num_groups < 3:
        return Interval(value=value, low=None, high=None, num_clips=num_clips)
    kept = [[i for i in everything if group_of_N[i] % num_groups != group] for group in range(num_groups)]
    left_out = np.array([statistic(clips) for clips in kept])
    variance = (num_groups - 1) / num_groups * ((left_out - left_out.mean()) ** 2).sum()
    reach = NORMAL_QUANTILE * float(np.sqrt(variance))
    return Interval(value=value, low=value - reach, high=value + reach, num_clips=num_clips)


def _groups(num_clips: int, episodes: Sequence[str] | None) -> NDArray[np.intp]:
    """Number of the episode of every clip [N], in the order in which they come."""
    if episodes is None:
        return np.arange(num_clips)
    if len(episodes) != num_clips:
        raise ValueError(f"{num_clips} clips, but the episodes of {len(episodes)}")
    number = {episode: place for place, episode in enumerate(dict.fromkeys(episodes))}
    return np.array([number[episode] for episode in episodes], dtype=np.intp)
