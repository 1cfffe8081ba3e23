"""Does the ego vehicle go where it was told? Ego motion read from the video, added up, against the commanded path.

Shape legend: T latent frames, N of them that were generated, D = 3: dx, dy in m and yaw in rad.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure, Reading
from worldtune.controls.trajectory.path import accumulate

READING = Reading()

MEASURES: dict[str, Measure] = {
    "tfe_m": Measure(
        label="trajectory-following error, m",
        better="lower",
        decimals=3,
        meaning="Mean distance between the path that a probe reads from the video and the commanded one, over the "
        "frames that were not given; both start at the last given frame. A probe errs on real clips too: compare with "
        "the real column.",
    ),
    "path_end_m": Measure(
        label="distance at the end of the path, m",
        better="lower",
        decimals=3,
        meaning="How far the path that a probe reads from the video ends from where the commanded one ends.",
    ),
}


def targets(arrays: Mapping[str, np.ndarray]) -> NDArray[np.float32]:
    """Ego motion of every latent frame in the ego frame before it, [T,3]; row 0 is zero."""
    return np.asarray(arrays["motion"][:, 0], np.float32)


def errors(read_TD: NDArray[np.floating], commanded_TD: NDArray[np.floating], num_observed: int) -> dict[str, float]:
    """Values of MEASURES for one clip."""
    first = max(1, num_observed)
    assert first < len(read_TD), f"{num_observed} of {len(read_TD)} latent frames observed leaves none to judge"
    paths = [accumulate(steps[first:])[:, :2] for steps in (read_TD, commanded_TD)]
    distance_N = np.linalg.norm(paths[0] - paths[1], axis=1)
    return {"tfe_m": float(distance_N.mean()), "path_end_m": float(distance_N[-1])}
