"""How a long rollout departs from the truth, and how it fades, chunk by chunk.

Shape legend: V views, T frames, H W rows and columns, C colours.
"""

from typing import Any

import numpy as np

from worldtune.contract.nouns import Measure
from worldtune.metrics.pixels import db_from_mse, squared_error

MEASURES: dict[str, Measure] = {
    "psnr_db": Measure(
        label="PSNR, dB", better="higher", decimals=2, meaning="Against the true frames of the same moment."
    ),
    "sharpness": Measure(
        label="sharpness",
        better="higher",
        decimals=3,
        meaning="Gradient energy of the chunk over that of the frame it all started from: below 1 detail is lost, "
        "above 1 noise or false detail is gained.",
    ),
}


def drift(
    made_VTHWC: np.ndarray, start_VHWC: np.ndarray, frames_per_chunk: int, truth_VTHWC: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """One row per chunk: chunk (from 1), sharpness, and psnr_db as far as there is a truth (None beyond).

    made: uint8, only frames that were made. truth: true frames of the same moments, which may end earlier; a chunk
    whose truth is not whole has none. ValueError when the frames are no whole number of chunks.
    """
    frames = made_VTHWC.shape[1]
    if frames < 1 or frames % frames_per_chunk:
        raise ValueError(f"{frames} frames are no whole number of chunks of {frames_per_chunk}")
    energy = gradient_energy(start_VHWC[:, None])
    rows = []
    for chunk, first in enumerate(range(0, frames, frames_per_chunk), 1):
        part = slice(first, first + frames_per_chunk)
        made, psnr_db = made_VTHWC[:, part], None
        if truth_VTHWC is not None and truth_VTHWC.shape[1] >= part.stop:
            psnr_db = db_from_mse(float(squared_error(made, truth_VTHWC[:, part]).mean()))
        sharpness = gradient_energy(made) / energy if energy else float("nan")
        rows.append({"chunk": chunk, "psnr_db": psnr_db, "sharpness": sharpness})
    return rows


def gradient_energy(video_VTHWC: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels along rows and columns, in squared uint8 levels."""
    video = video_VTHWC.astype(np.float64)
    return float(np.mean(np.diff(video, axis=2) ** 2) + np.mean(np.diff(video, axis=3) ** 2))
