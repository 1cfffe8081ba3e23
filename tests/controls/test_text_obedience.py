"""Naming an instruction from what a probe read."""

import numpy as np
import pytest

from worldtune.controls.text import obedience

GENERATOR = np.random.default_rng(0)
OTHERS_KD = GENERATOR.normal(size=(7, 16)).astype(np.float32) + 3


def commanded(index: int, frames: int = 5) -> np.ndarray:
    return np.tile(OTHERS_KD[index], (frames, 1))


def test_targets_are_the_mean_of_true_rows() -> None:
    tokens_VLD = np.zeros((2, 4, 3), np.float16)
    tokens_VLD[0, :2], tokens_VLD[1, 0] = 3.0, 6.0
    assert np.allclose(obedience.targets({"tokens": tokens_VLD}), [[3.0], [6.0]])
    assert np.allclose(obedience.targets({"tokens": np.zeros((1, 4, 3))}), 0.0)


@pytest.mark.parametrize("index", range(7))
def test_a_faint_reading_names_its_instruction(index: int) -> None:
    """A probe answers near the mean; only the direction counts."""
    faint_TD = OTHERS_KD.mean(0) + 0.05 * (commanded(index) - OTHERS_KD.mean(0))
    found = obedience.errors(faint_TD, commanded(index), 1, OTHERS_KD)
    assert found == {"text_named": 1.0, "text_rank": 1.0}
    wrong = obedience.errors(faint_TD, commanded((index + 1) % 7), 1, OTHERS_KD)
    assert wrong["text_named"] == 0.0
    assert wrong["text_rank"] < 1.0


def test_given_frames_do_not_count() -> None:
    read_TD = commanded(2)
    read_TD[:2] = OTHERS_KD[5]
    assert obedience.errors(read_TD, commanded(2), 2, OTHERS_KD)["text_named"] == 1.0
    with pytest.raises(ValueError, match="there is nothing to judge"):
        obedience.errors(read_TD, commanded(2), 5, OTHERS_KD)


def test_noise_is_guessing() -> None:
    noise = [GENERATOR.normal(size=(5, 16)) + OTHERS_KD.mean(0) for _ in range(700)]
    found = [obedience.errors(read, commanded(i % 7), 1, OTHERS_KD) for i, read in enumerate(noise)]
    assert abs(np.mean([one["text_named"] for one in found]) - 1 / 7) < 0.06
    assert abs(np.mean([one["text_rank"] for one in found]) - 0.5) < 0.06


def test_one_instruction_cannot_be_told_apart() -> None:
    assert np.isnan(obedience.errors(commanded(0), commanded(0), 1, OTHERS_KD[:1])["text_named"])
