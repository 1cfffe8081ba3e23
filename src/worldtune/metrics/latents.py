"""Latent measures: mean squared error, and the features behind FD-own.

Shape legend: V views, T latent frames, H W latent grid, C channels, N samples, D features.
"""

import numpy as np
from numpy.typing import NDArray

Latents = NDArray[np.float32]

MAX_FEATURES = 64
"""More features need more clips than people have: the floor of a Frechet distance grows with features / samples."""


def latent_mse(made_VTHWC: Latents, real_VTHWC: Latents, num_observed: int) -> float:
    """Mean squared error of the unobserved latent frames, in units of the codec's own latent variance.

    Only comparable between models of one codec. ValueError when the shapes differ or no frame is left.
    """
    if made_VTHWC.shape != real_VTHWC.shape:
        raise ValueError(f"made and real latents differ in shape: {made_VTHWC.shape} and {real_VTHWC.shape}")
    if not 0 <= num_observed < made_VTHWC.shape[1]:
        raise ValueError(f"{num_observed} observed frames leave nothing of {made_VTHWC.shape[1]} latent frames")
    made, real = made_VTHWC[:, num_observed:], real_VTHWC[:, num_observed:]
    return float(np.mean((made.astype(np.float64) - real.astype(np.float64)) ** 2))


def quadrant_features(latent_VTHWC: Latents, num_observed: int) -> NDArray[np.float64]:
    """Features [N,D] of the unobserved latent frames: N = V * frames * 4 quadrants.

    Each quadrant gives the mean and the standard deviation over its cells of every channel (D = 2C). A codec with
    more than 32 channels gives means only, of its first 64 channels, so that D <= MAX_FEATURES.
    """
    views, frames, height, width, channels = latent_VTHWC.shape
    if height < 2 or width < 2:
        raise ValueError(f"quadrants need a latent grid of at least 2 x 2 cells, got {height} x {width}")
    kept = latent_VTHWC[:, num_observed:].astype(np.float64)
    rows, columns = np.array_split(np.arange(height), 2), np.array_split(np.arange(width), 2)
    samples = []
    for row in rows:
        for column in columns:
            cells = kept[:, :, row][:, :, :, column].reshape(views, kept.shape[1], -1, channels)
            samples.append(cell_statistics(cells).reshape(views * kept.shape[1], -1))
    return np.concatenate(samples)


def cell_statistics(cells_VTNC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean, and standard deviation if it fits into MAX_FEATURES, over N: [V,T,D]."""
    mean = cells_VTNC.mean(axis=2)
    if 2 * mean.shape[-1] > MAX_FEATURES:
        return mean[..., :MAX_FEATURES]
    return np.concatenate([mean, cells_VTNC.std(axis=2)], axis=-1)
