"""Whether a clip shows the instructed deed: a probe names the instruction from the video.

Shape legend: V views, L text rows, T latent frames, D width of a text row, K instructions to choose from.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure, Reading

READING = Reading(names=True)
"""`errors` is given the instructions of all judged clips, to choose from."""

MEASURES: dict[str, Measure] = {
    "instruction_named": Measure(
        label="instruction named",
        better="higher",
        decimals=3,
        meaning="Share of clips whose instruction a probe names from the video, out of all different instructions of "
        "the judged clips. The probe was trained on real clips; its share on real clips is the most to expect.",
    ),
    "instruction_rank": Measure(
        label="instruction rank",
        better="higher",
        decimals=3,
        meaning="Share of the other instructions that the probe finds less fitting than the clip's own: 1 is the "
        "best, 0.5 is guessing.",
    ),
}


def targets(arrays: Mapping[str, np.ndarray]) -> NDArray[np.float32]:
    """What a probe reads from every latent frame: the mean of the text's true rows over all views, [D]."""
    rows_VLD = np.asarray(arrays["tokens"], np.float32)
    is_true_VL = np.abs(rows_VLD).sum(-1) > 0
    return rows_VLD.sum((0, 1)) / np.float32(max(1, int(is_true_VL.sum())))


def errors(read_TD: np.ndarray, commanded_TD: np.ndarray, num_observed: int, others_KD: np.ndarray) -> dict[str, float]:
    """MEASURES of one clip. others_KD: different instructions to choose from, the commanded one among them.

    An instruction fits by the cosine between it and what was read, both seen from the mean instruction. NaN with fewer
    than two instructions. ValueError when every latent frame was given.
    """
    first = max(1, num_observed)
    if first >= len(read_TD):
        raise ValueError(f"all {len(read_TD)} latent frames are given: there is no deed to judge")
    if len(others_KD) < 2:
        return dict.fromkeys(MEASURES, float("nan"))
    middle_D = others_KD.mean(0)
    fits_K = _cosine(others_KD - middle_D, read_TD[first:].mean(0) - middle_D)
    own = int(np.abs(others_KD - commanded_TD[0]).sum(1).argmin())
    worse = int((fits_K < fits_K[own]).sum())
    return {"instruction_named": float(fits_K.argmax() == own), "instruction_rank": worse / (len(others_KD) - 1)}


def _cosine(rows_KD: np.ndarray, row_D: np.ndarray) -> NDArray[np.float64]:
    lengths_K = np.linalg.norm(rows_KD, axis=1) * np.linalg.norm(row_D)
    return np.asarray(rows_KD @ row_D / np.maximum(lengths_K, 1e-12), np.float64)
