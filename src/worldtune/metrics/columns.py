"""A column of a report: one way of making clips, measured on every clip of every seed, and pooled.

Shape legend: V views, T frames, H W rows and columns, C channels, S seeds, N clips, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldtune.metrics.latents import Latents, quadrant_features
from worldtune.metrics.pixels import Video, psnr_per_frame_db
from worldtune.metrics.scores import (
    Pooled,
    latent_scores,
    pixel_scores,
    pooled_difference,
    pooled_frechet,
    pooled_frechet_difference,
    pooled_mean,
)

FRECHET = "fd_own"


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """Everything measured of one clip."""

    values: dict[str, float | None]
    """Measure -> value; None where it is not defined for the clip."""
    per_frame_psnr_db: list[float] = field(default_factory=list)
    """Empty for clips that are not compared with the truth pixel by pixel."""
    features_ND: NDArray[np.float64] | None = None
    """Of the clip, for FD-own; None without latents."""
    real_features_ND: NDArray[np.float64] | None = None
    """Of the true clip."""


Column = Sequence[Sequence[ClipScores]]
"""[S][N]."""


def clip_scores(
    pixels_VTHWC: Video,
    real_VTHWC: Video,
    num_observed_frames: int,
    latents: tuple[Latents, Latents] | None = None,
    num_observed_latents: int = 0,
) -> ClipScores:
    """Measure one clip against the truth; `latents` are its own and the truth's, where both exist."""
    values = pixel_scores(pixels_VTHWC, real_VTHWC, num_observed_frames)
    per_frame = psnr_per_frame_db(pixels_VTHWC, real_VTHWC, num_observed_frames)
    if latents is None:
        return ClipScores(values=values, per_frame_psnr_db=per_frame)
    made_VTHWC, truth_VTHWC = latents
    return ClipScores(
        values=values | latent_scores(made_VTHWC, truth_VTHWC, num_observed_latents),
        per_frame_psnr_db=per_frame,
        features_ND=quadrant_features(made_VTHWC, num_observed_latents),
        real_features_ND=quadrant_features(truth_VTHWC, num_observed_latents),
    )


def means(column: Column, seed: int, episodes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Measure -> {value, low, high, num_clips, per_seed}, for measures that are defined. episodes: of every clip."""
    pooled = {name: pooled_mean(_values(column, name), seed, episodes) for name in _names(column)}
    made, real = clouds(column), real_clouds(column)
    if made is not None and real is not None:
        pooled[FRECHET] = pooled_frechet(made, real, episodes)
    return _as_json(pooled)


def differences(left: Column, right: Column, seed: int, episodes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The same for left minus right on the same clips and seeds."""
    pooled = {
        name: pooled_difference(_values(left, name), _values(right, name), seed, episodes) for name in _names(left)
    }
    clouds_of = clouds(left), clouds(right), real_clouds(left)
    if all(cloud is not None for cloud in clouds_of):
        pooled[FRECHET] = pooled_frechet_difference(*clouds_of, episodes)  # type: ignore[arg-type]
    return _as_json(pooled)


def per_clip(column: Column, name: str) -> list[float | None]:
    """A measure of every clip, averaged over seeds."""
    by_clip = zip(*_values(column, name), strict=True)
    return [None if None in seeds else float(np.mean(seeds)) for seeds in by_clip]  # type: ignore[arg-type]


def per_frame_psnr_db(column: Column) -> list[float]:
    """PSNR of every unobserved frame, averaged over clips and seeds."""
    rows = [clip.per_frame_psnr_db for clips_N in column for clip in clips_N]
    return [float(value) for value in np.mean(rows, axis=0)]


def clouds(column: Column) -> list[list[NDArray[np.float64]]] | None:
    """Features of all clips [S][N]; None when one has none."""
    features = [[clip.features_ND for clip in clips_N] for clips_N in column]
    return None if any(one is None for row in features for one in row) else features  # type: ignore[return-value]


def real_clouds(column: Column) -> list[list[NDArray[np.float64]]] | None:
    """Features of the true clips beside them."""
    features = [[clip.real_features_ND for clip in clips_N] for clips_N in column]
    return None if any(one is None for row in features for one in row) else features  # type: ignore[return-value]


def _names(column: Column) -> list[str]:
    """Measures of single clips, in the order in which they were taken."""
    return list(dict.fromkeys(name for clips_N in column for clip in clips_N for name in clip.values))


def _values(column: Column, name: str) -> list[list[float | None]]:
    return [[clip.values.get(name) for clip in clips_N] for clips_N in column]


def _as_json(pooled: dict[str, Pooled | None]) -> dict[str, dict[str, Any]]:
    return {name: value.to_json() for name, value in pooled.items() if value is not None}
