"""Whether a clip shows the commanded actions: inverse dynamics, read from the video by a probe.

Shape legend: T latent frames, R actions of one latent frame, D numbers of all actions of a latent frame.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure, Reading

READING = Reading(in_deviations=True)
"""Metres, radians and openings cannot be averaged: `errors` gets every number in units of its standard deviation."""

MEASURES: dict[str, Measure] = {
    "action_error_std": Measure(
        label="action error, std",
        better="lower",
        decimals=3,
        meaning="Inverse dynamics: a probe trained on real clips reads the actions from the video. Root mean square "
        "error against the commanded ones, each number in units of its standard deviation over the training clips; "
        "always answering the mean has 1. Numbers of which the probe explains less than a tenth on real clips are left "
        "out. The error on real clips is the probe's own and the least to expect.",
    ),
}


def targets(arrays: Mapping[str, np.ndarray]) -> NDArray[np.float32]:
    """What a probe reads: the raw actions that lead to each latent frame, float32 [T,R*D]; row 0 is zero."""
    frames_TRD = np.asarray(arrays["frames"], np.float32)
    return frames_TRD.reshape(len(frames_TRD), -1)


def errors(read_TD: np.ndarray, commanded_TD: np.ndarray, num_observed: int) -> dict[str, float]:
    """MEASURES of one clip; both arguments in standard deviations, NaN where a number never varies or is not read.

    Latent frames that were given do not count. NaN when no number is left. ValueError when nothing is left to judge.
    """
    if read_TD.shape != commanded_TD.shape:
        raise ValueError(f"actions read are {list(read_TD.shape)}, commanded {list(commanded_TD.shape)}")
    first = max(1, num_observed)
    if first >= len(read_TD):
        raise ValueError(f"all {len(read_TD)} latent frames are given: there are no actions to judge")
    squares = (np.asarray(read_TD[first:], np.float64) - np.asarray(commanded_TD[first:], np.float64)) ** 2
    varies = ~np.isnan(squares)
    return {"action_error_std": float(np.sqrt(squares[varies].mean())) if varies.any() else float("nan")}
