"""Whether a clip shows what its text says: a probe names the text from the video.

Shape legend: V views, L text rows, T latent frames, D width of a text row, K texts to choose from.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure, Reading

READING = Reading(by_view=True, names=True)
"""Each view is asked for its own text where they differ. `errors` is given the texts of all judged clips, to choose
from."""

MEASURES: dict[str, Measure] = {
    "text_named": Measure(
        label="text named",
        better="higher",
        decimals=3,
        meaning="Share of clips (of views, where each has its own text) whose text a probe names from the video, out "
        "of all different texts of the judged clips. The probe was trained on real clips; its share on real clips is "
        "the most to expect.",
    ),
    "text_rank": Measure(
        label="rank of the text",
        better="higher",
        decimals=3,
        meaning="Share of the other texts that the probe finds less fitting than the clip's own: 1 is the best, 0.5 is "
        "guessing.",
    ),
}


def targets(arrays: Mapping[str, np.ndarray]) -> NDArray[np.float32]:
    """What a probe reads from every latent frame: the mean of the true rows of each view's text, [V,D]."""
    rows_VLD = np.asarray(arrays["tokens"], np.float32)
    num_true_V = (np.abs(rows_VLD).sum(-1) > 0).sum(1)
    means_VD: NDArray[np.float32] = rows_VLD.sum(1) / np.maximum(1, num_true_V)[:, None].astype(np.float32)
    return means_VD


def errors(read_TD: np.ndarray, commanded_TD: np.ndarray, num_observed: int, others_KD: np.ndarray) -> dict[str, float]:
    """MEASURES of one clip or view. others_KD: different texts to choose from, the commanded one among them.

    A text fits by the cosine between it and what was read, both seen from the mean text. NaN with fewer than two texts.
    ValueError when every latent frame was given.
    """
    first = max(1, num_observed)
    if first >= len(read_TD):
        raise ValueError(f"all {len(read_TD)} latent frames are given: there is nothing to judge")
    if len(others_KD) < 2:
        return dict.fromkeys(MEASURES, float("nan"))
    middle_D = others_KD.mean(0)
    fits_K = _cosine(others_KD - middle_D, read_TD[first:].mean(0) - middle_D)
    own = int(np.abs(others_KD - commanded_TD[0]).sum(1).argmin())
    worse = int((fits_K < fits_K[own]).sum())
    return {"text_named": float(fits_K.argmax() == own), "text_rank": worse / (len(others_KD) - 1)}


def _cosine(rows_KD: np.ndarray, row_D: np.ndarray) -> NDArray[np.float64]:
    lengths_K = np.linalg.norm(rows_KD, axis=1) * np.linalg.norm(row_D)
    return np.asarray(rows_KD @ row_D / np.maximum(lengths_K, 1e-12), np.float64)
