"""Statistics of features per episode and over a dataset, in the form LeRobot stores.

Shape legend: T frames, H W rows and columns, C channels.
"""

from collections.abc import Sequence

import numpy as np

Stats = dict[str, np.ndarray]
"""min, max, mean, std with the per-frame shape, and count [1]."""


def of_signal(values: np.ndarray) -> Stats:
    """Statistics over frames of [T, ...]."""
    values = values.astype(np.float64)
    return _over(values, (0,), len(values))


def of_video(frames_THWC: np.ndarray) -> Stats:
    """Statistics per channel of uint8 [T,H,W,3], as [3,1,1] in 0..1; count is the number of frames."""
    frames_CTHW = np.moveaxis(frames_THWC[:, ::2, ::2], -1, 0).astype(np.float64) / 255
    stats = _over(frames_CTHW, (1, 2, 3), len(frames_THWC))
    return {name: value if name == "count" else value.reshape(-1, 1, 1) for name, value in stats.items()}


def _over(values: np.ndarray, axes: tuple[int, ...], count: int) -> Stats:
    return {
        "min": values.min(axes),
        "max": values.max(axes),
        "mean": values.mean(axes),
        "std": values.std(axes),
        "count": np.array([count]),
    }


def joined(parts: Sequence[Stats]) -> Stats:
    """Statistics of all frames together, from those of the episodes."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    means, stds = (np.stack([part[name] for part in parts]) for name in ("mean", "std"))
    weights = (counts / counts.sum()).reshape(-1, *[1] * (means.ndim - 1))
    mean = (weights * means).sum(0)
    variance = (weights * (stds**2 + (means - mean) ** 2)).sum(0)
    return {
        "min": np.min([part["min"] for part in parts], 0),
        "max": np.max([part["max"] for part in parts], 0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
