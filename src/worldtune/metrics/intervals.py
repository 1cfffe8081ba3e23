"""Confidence intervals over clips: the clip is the unit, because pixels and frames of a clip are not independent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from worldtune.contract.randomness import derived_seed

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
JACKKNIFE_GROUPS = 20
NORMAL_QUANTILE = 1.959964
"""Two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with its 95 % confidence interval; the bounds are None where a single clip gives none."""

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


def bootstrap_mean(values: Sequence[float], seed: int) -> Interval:
    """Mean over clips with its percentile bootstrap interval. ValueError without values."""
    if not len(values):
        raise ValueError("no clip to average over")
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 1:
        return Interval(value=float(array[0]), low=None, high=None, num_clips=1)
    random = np.random.default_rng(derived_seed(seed, 0, "bootstrap over clips"))
    means = array[random.integers(len(array), size=(NUM_RESAMPLES, len(array)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=float(array.mean()), low=float(low), high=float(high), num_clips=len(array))


def paired_difference(left: Sequence[float], right: Sequence[float], seed: int) -> Interval:
    """Mean of left - right over the same clips with its bootstrap interval."""
    if len(left) != len(right):
        raise ValueError(f"paired values must be of the same clips, got {len(left)} and {len(right)}")
    return bootstrap_mean([a - b for a, b in zip(left, right, strict=True)], seed)


def jackknife(statistic: Callable[[list[int]], float], num_clips: int) -> Interval:
    """A statistic of a set of clips, with a normal interval from leaving out one group of clips at a time.

    For distances between distributions: they rise when clips are repeated, which makes a bootstrap of them wrong.
    `statistic` receives clip indices. Clips fall into at most JACKKNIFE_GROUPS groups.
    """
    everything = list(range(num_clips))
    value = statistic(everything)
    num_groups = min(num_clips, JACKKNIFE_GROUPS)
    if num_groups < 3:
        return Interval(value=value, low=None, high=None, num_clips=num_clips)
    left_out = np.array([statistic([i for i in everything if i % num_groups != g]) for g in range(num_groups)])
    variance = (num_groups - 1) / num_groups * ((left_out - left_out.mean()) ** 2).sum()
    reach = NORMAL_QUANTILE * float(np.sqrt(variance))
    return Interval(value=value, low=value - reach, high=value + reach, num_clips=num_clips)
