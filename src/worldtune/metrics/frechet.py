"""FD-own: Frechet distance between feature clouds, honest about how many samples it stands on.

Shape legend: N samples, D features.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.randomness import derived_seed

Features = NDArray[np.float64]

MIN_SAMPLES = 1000
"""Below this the distance is mostly the noise of sampling; the number is still given, with a warning."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """How much a Frechet distance stands on."""

    num_samples: int
    num_features: int

    @property
    def warning(self) -> str:
        """Empty when there are enough samples."""
        if self.num_samples >= MIN_SAMPLES:
            return ""
        return f"n too small: {self.num_samples} samples of {self.num_features} features, {MIN_SAMPLES} wanted"


def frechet_distance(left_ND: Features, right_ND: Features) -> float:
    """Squared Frechet distance of the Gaussians fitted to two samples.

    |m1 - m2|^2 + Tr(S1) + Tr(S2) - 2 Tr((S1 S2)^(1/2)). For centred matrices X scaled by 1/sqrt(n - 1) the last trace
    is the nuclear norm of X1 X2', and QR makes that a D x D problem; no matrix square root is taken.
    ValueError with fewer than 2 samples or unequal D.
    """
    if left_ND.shape[1] != right_ND.shape[1]:
        raise ValueError(f"feature widths differ: {left_ND.shape[1]} and {right_ND.shape[1]}")
    mean_gap = left_ND.mean(axis=0) - right_ND.mean(axis=0)
    left, right = scaled_triangle(left_ND), scaled_triangle(right_ND)
    overlap = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    distance = mean_gap @ mean_gap + (left**2).sum() + (right**2).sum() - 2.0 * overlap
    return max(float(distance), 0.0)


def scaled_triangle(features_ND: Features) -> Features:
    """R of X = QR for the centred, scaled matrix: R'R is the covariance."""
    num_samples = features_ND.shape[0]
    if num_samples < 2:
        raise ValueError(f"a Frechet distance needs at least 2 samples, got {num_samples}")
    centred = (features_ND - features_ND.mean(axis=0)) / np.sqrt(num_samples - 1)
    triangle: Features = np.linalg.qr(centred).R
    return triangle


def halves(num_clips: int, seed: int) -> tuple[list[int], list[int]]:
    """A seeded split of clip indices into two halves, for the real-against-real distance."""
    order = np.random.default_rng(derived_seed(seed, 0, "real halves")).permutation(num_clips)
    middle = num_clips // 2
    return sorted(order[:middle].tolist()), sorted(order[middle:].tolist())


def ground(real_N: Sequence[Features], seed: int) -> dict[str, Any]:
    """What a distance to these clips stands on: samples, features, a warning when few, and real against real.

    The last is the distance between two halves of the real clips; None with fewer than two clips.
    """
    whole = np.concatenate(list(real_N))
    cloud = Cloud(num_samples=whole.shape[0], num_features=whole.shape[1])
    real_vs_real = None
    if len(real_N) >= 2:
        left, right = (np.concatenate([real_N[clip] for clip in half]) for half in halves(len(real_N), seed))
        real_vs_real = {"value": frechet_distance(left, right), "num_samples": [len(left), len(right)]}
    return {**asdict(cloud), "warning": cloud.warning, "real_vs_real": real_vs_real}
