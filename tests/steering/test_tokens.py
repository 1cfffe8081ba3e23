"""Autoregressive sessions go on from the very tokens that they made.

Shape legend: V views, T latent frames, H W latent grid.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.steering.toy import make_run
from worldtune.contract.nouns import Batch
from worldtune.stages.steer import Steered, open_run

CONTEXT = 2


class Watched:
    """A sampler that keeps what it was given and what it made."""

    def __init__(self, steered: Steered) -> None:
        self._sample = steered.session._sample
        self.given_VTHW: list[Tensor] = []
        self.made_VTHW: list[Tensor] = []
        self.batches: list[Batch] = []
        steered.session._sample = self

    def __call__(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        made = self._sample(batch, generators)
        assert batch.num_observed_B is not None
        known = int(batch.num_observed_B[0])
        self.batches.append(batch)
        self.given_VTHW.append(batch.target[0, :, :known])
        self.made_VTHW.append(made[0, :, known:])
        return made


def opened(folder: Path, **pace: object) -> tuple[Steered, Watched]:
    steered = open_run(folder, pace={"context": CONTEXT, **pace}, assignments=["temperature=0"])
    watched = Watched(steered)
    steered.session.start(steered.observation(steered.starts()[0]))
    return steered, watched


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("tokens"), "autoregressive", ("text",))


def test_the_context_of_a_chunk_is_the_tokens_of_those_before(folder: Path) -> None:
    steered, watched = opened(folder, context=1)
    start = steered.session.context
    for _ in range(6):
        steered.session.step({})
    every = torch.cat([start, *watched.made_VTHW], 1)
    lengths = [given.shape[1] for given in watched.given_VTHW]
    assert lengths == [1, 2, 1, 2, 1, 2], "windows of three, two of which began with carried tokens"
    for number, given in enumerate(watched.given_VTHW):
        newest = 1 + number
        assert torch.equal(given, every[:, newest - given.shape[1] : newest])


def test_frames_that_are_encoded_anew_are_other_tokens(folder: Path) -> None:
    steered, watched = opened(folder, context=1, carry="frames")
    for _ in range(3):
        steered.session.step({})
    assert not torch.equal(watched.given_VTHW[2], watched.made_VTHW[1]), "or the test above could not fail"


def test_a_session_is_the_family_s_own_long_generation(folder: Path) -> None:
    """Text only, likeliest tokens: chunk after chunk equals one clip over which the sampler's window slides."""
    steered, watched = opened(folder)
    chunks = 6
    start = steered.session.context
    for _ in range(chunks):
        steered.session.step({})
    made = torch.cat(watched.made_VTHW, 1)
    batch = watched.batches[0]
    rest = start.new_zeros((start.shape[0], chunks, *start.shape[2:]))
    whole = Batch(
        target=torch.cat([start, rest], 1)[None],
        controls=batch.controls,
        fps_hz_B=batch.fps_hz_B,
        clip_ids=batch.clip_ids,
        num_observed_B=torch.tensor([start.shape[1]]),
    )
    assert steered.run.sampler.context_frames == CONTEXT
    long = watched._sample(whole, [torch.Generator()])
    assert torch.equal(long[0, :, start.shape[1] :], made)


def test_frames_are_those_of_all_tokens_decoded_at_once(folder: Path) -> None:
    steered, watched = opened(folder, context=1)
    start = steered.session.context
    shown = [steered.session.step({}) for _ in range(6)]
    whole = steered.session._coded.decoded(torch.cat([start, *watched.made_VTHW], 1))
    assert np.array_equal(np.concatenate(shown, 1), whole[:, -24:])


def test_undo_brings_the_tokens_back_too(folder: Path) -> None:
    steered, watched = opened(folder, context=1)
    for _ in range(4):
        steered.session.step({})
    for _ in range(3):
        steered.session.undo()
    for _ in range(3):
        steered.session.step({})
    for first, again in zip(watched.given_VTHW[1:4], watched.given_VTHW[4:], strict=True):
        assert torch.equal(first, again)


def test_latents_have_no_tokens_to_carry(tmp_path: Path) -> None:
    run = make_run(tmp_path, "diffusion", ("text",))
    assert open_run(run).session.pace.carry == "frames"
    with pytest.raises(ValueError, match="models latents and has no tokens to carry"):
        open_run(run, pace={"carry": "tokens"})
    with pytest.raises(ValueError, match="carry must be tokens or frames, got 'pixels'"):
        open_run(run, pace={"carry": "pixels"})
