"""Every measure of one clip, and what each is called, so that reports need no list of their own.

Shape legend: V views, T frames, H W rows and columns, C channels, S seeds, N clips.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure
from worldtune.metrics.frechet import frechet_distance
from worldtune.metrics.intervals import Interval, bootstrap_mean, jackknife
from worldtune.metrics.latents import Latents, latent_mse
from worldtune.metrics.permanence import object_permanence
from worldtune.metrics.pixels import Video, dynamic_psnr_db, psnr_db, ssim

MEASURES: dict[str, Measure] = {
    "psnr_db": Measure(
        label="PSNR, dB",
        better="higher",
        decimals=2,
        meaning="Closeness to the true clip, pixel by pixel, over all frames that were not given to the model. "
        "One dB is a quarter more or less squared error.",
    ),
    "dynamic_psnr_db": Measure(
        label="PSNR where it moves, dB",
        better="higher",
        decimals=2,
        meaning="PSNR only where the true clip differs from its last observed frame (more than 20 of 255 levels, "
        "grown by 1 px): what stands still does not help here. Clips in which nothing moves are left out.",
    ),
    "ssim": Measure(
        label="SSIM",
        better="higher",
        decimals=3,
        meaning="Likeness of local structure, at most 1. Gaussian window of 11 px, sigma 1.5 px, RGB.",
    ),
    "object_permanence": Measure(
        label="object permanence",
        better="higher",
        decimals=3,
        meaning="Things of the given frame (compact patches of a colour that is rare there) that are still seen in the "
        "made frames, as a share of those that the true clip still shows. They may move, but not fade, blur away or "
        "change colour. A clip that stands still has 1.",
    ),
    "latent_mse": Measure(
        label="latent MSE",
        better="lower",
        decimals=4,
        meaning="Squared error in the codec's own space, in units of its variance. Comparable within one codec only.",
    ),
    "fd_own": Measure(
        label="FD-own",
        better="lower",
        decimals=4,
        meaning="Frechet distance between generated and real clips on features of our own codec: does the whole set "
        "look like real clips? Not comparable with a published FVD or FID.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A number over clips and seeds."""

    interval: Interval
    per_seed: list[float]
    """The same number for every seed on its own."""

    def to_json(self) -> dict[str, Any]:
        """Plain values: value, low, high, num_clips, per_seed."""
        return {**asdict(self.interval), "per_seed": self.per_seed}


def pixel_scores(made_VTHWC: Video, real_VTHWC: Video, num_observed: int) -> dict[str, float | None]:
    """The pixel measures of one clip; None where a measure is not defined for it."""
    measures: dict[str, Callable[[Video, Video, int], float | None]] = {
        "psnr_db": psnr_db,
        "dynamic_psnr_db": dynamic_psnr_db,
        "ssim": ssim,
        "object_permanence": object_permanence,
    }
    return {name: measure(made_VTHWC, real_VTHWC, num_observed) for name, measure in measures.items()}


def latent_scores(made_VTHWC: Latents, real_VTHWC: Latents, num_observed: int) -> dict[str, float | None]:
    """The latent measures of one clip."""
    return {"latent_mse": latent_mse(made_VTHWC, real_VTHWC, num_observed)}


def pooled_mean(
    values_SN: Sequence[Sequence[float | None]], seed: int, episodes: Sequence[str] | None = None
) -> Pooled | None:
    """Mean over clips and seeds. The interval is over episodes, each clip averaged over its seeds first.

    Clips without a value are left out; None when no clip has one. episodes: of every clip; by default its own.
    """
    array = np.array([[np.nan if value is None else value for value in row] for row in values_SN], dtype=np.float64)
    is_there_N = np.asarray(~np.isnan(array).any(axis=0))
    defined = array[:, is_there_N]
    if not defined.size:
        return None
    kept = None if episodes is None else [one for one, there in zip(episodes, is_there_N, strict=True) if there]
    return Pooled(
        interval=bootstrap_mean(defined.mean(axis=0).tolist(), seed, kept),
        per_seed=defined.mean(axis=1).tolist(),
    )


def pooled_difference(
    left_SN: Sequence[Sequence[float | None]],
    right_SN: Sequence[Sequence[float | None]],
    seed: int,
    episodes: Sequence[str] | None = None,
) -> Pooled | None:
    """Mean of left - right over the same clips and seeds, with its interval over episodes."""
    pairs = [
        [None if a is None or b is None else a - b for a, b in zip(left_N, right_N, strict=True)]
        for left_N, right_N in zip(left_SN, right_SN, strict=True)
    ]
    return pooled_mean(pairs, seed, episodes)


Clouds = Sequence[Sequence[NDArray[np.float64]]]
"""Features [samples,D] of every clip of every seed."""


def pooled_frechet(made_SN: Clouds, real_SN: Clouds, episodes: Sequence[str] | None = None) -> Pooled:
    """FD-own of every seed, their mean, and a jackknife interval over episodes."""
    return Pooled(
        interval=jackknife(
            lambda clips: float(np.mean(_distances(made_SN, real_SN, clips))), len(real_SN[0]), episodes
        ),
        per_seed=_distances(made_SN, real_SN, range(len(real_SN[0]))),
    )


def pooled_frechet_difference(
    left_SN: Clouds, right_SN: Clouds, real_SN: Clouds, episodes: Sequence[str] | None = None
) -> Pooled:
    """FD-own of left minus FD-own of right, on the same clips."""

    def difference(clips: Sequence[int]) -> list[float]:
        pairs = zip(_distances(left_SN, real_SN, clips), _distances(right_SN, real_SN, clips), strict=True)
        return [left - right for left, right in pairs]

    num_clips = len(real_SN[0])
    return Pooled(
        interval=jackknife(lambda clips: float(np.mean(difference(clips))), num_clips, episodes),
        per_seed=difference(range(num_clips)),
    )


def _distances(made_SN: Clouds, real_SN: Clouds, clips: Sequence[int]) -> list[float]:
    def chosen(cloud_N: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([cloud_N[clip] for clip in clips])

    return [frechet_distance(chosen(made), chosen(real)) for made, real in zip(made_SN, real_SN, strict=True)]
