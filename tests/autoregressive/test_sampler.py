"""Generation: what is kept, what is drawn, guidance, batches, long clips."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.autoregressive.test_objective import batch_of, condition_of
from tests.autoregressive.toy import ALL, TOY, TOY_TEXT, carriers, model, tokens
from worldtune.contract.condition import Condition, Widths
from worldtune.families.autoregressive.draw import draw
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.objective import with_begin
from worldtune.families.autoregressive.sampler import Sampler, guide_logits, sample, windows


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One per row."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def make(
    network: VideoTransformer,
    ids: Tensor,
    observed: Sequence[int],
    condition: Condition | None = None,
    null: Condition | None = None,
    *,
    seeds: Sequence[int] = (3, 4),
    config: Sampler | None = None,
) -> Tensor:
    """Sample with everything that a test does not name left at a default."""
    batch = batch_of(ids, torch.tensor(observed))
    condition = condition or Condition()
    return sample(network, batch, condition, null or condition, generators(seeds), config or Sampler())


# --- drawing one token


def chances(config: Sampler, logits: list[float]) -> list[float]:
    """Share of each token over many evenly spread uniform numbers."""
    uniform = (torch.arange(1000) + 0.5) / 1000
    rows = torch.tensor(logits).expand(1000, -1)
    ids = draw(rows, uniform, temperature=config.temperature, top_p=config.top_p, top_k=config.top_k)
    return (torch.bincount(ids, minlength=len(logits)) / 1000).tolist()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (Sampler(top_p=1.0), [0.1, 0.5, 0.4]),
        (Sampler(top_p=0.45), [0.0, 1.0, 0.0]),
        (Sampler(top_p=0.6), [0.0, 5 / 9, 4 / 9]),
        (Sampler(top_p=0.95), [0.1, 0.5, 0.4]),
        (Sampler(top_p=1.0, top_k=2), [0.0, 5 / 9, 4 / 9]),
        (Sampler(top_p=1.0, top_k=9), [0.1, 0.5, 0.4]),
        (Sampler(temperature=0.0), [0.0, 1.0, 0.0]),
        (Sampler(temperature=0.5, top_p=1.0), [0.01 / 0.42, 0.25 / 0.42, 0.16 / 0.42]),
    ],
)
def test_tokens_are_drawn_by_their_probability(config: Sampler, wanted: list[float]) -> None:
    got = chances(config, torch.tensor([0.1, 0.5, 0.4]).log().tolist())
    assert got == pytest.approx(wanted, abs=0.002)


def test_the_largest_uniform_number_draws_a_kept_token() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.4]]).log()
    assert draw(logits, torch.tensor([1.0]), temperature=1.0, top_p=0.6, top_k=0).item() == 2


def test_few_candidates_draw_what_all_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peaked row alone is drawn from few; with a flat one beside it all are sorted."""
    logits = 4 * torch.randn(2, 2000, generator=torch.Generator().manual_seed(0))
    logits[1] = 0
    draws = (torch.arange(50) + 0.5) / 50

    def drawn(rows: Tensor) -> list[list[int]]:
        return [draw(rows, u.expand(len(rows)), temperature=1.0, top_p=0.9, top_k=0).tolist() for u in draws]

    alone, both = drawn(logits[:1]), drawn(logits)
    assert [row[:1] for row in both] == alone
    monkeypatch.setattr("worldtune.families.autoregressive.draw.FEW", 10_000)
    assert (drawn(logits[:1]), drawn(logits)) == (alone, both)
    assert len({row[1] for row in both}) == 50


def test_guidance_convention() -> None:
    both = torch.tensor([[1.0, 2.0], [0.5, 3.0]])
    assert guide_logits(both, 2.0).tolist() == [[2.0, 0.0]]
    assert guide_logits(both, 0.0).tolist() == both.tolist()


# --- clips


@pytest.mark.parametrize("views", [1, 2])
def test_observed_frames_are_kept_and_the_rest_is_not_looked_at(views: int) -> None:
    network, ids = model(TOY_TEXT, ALL), tokens(views)
    condition = condition_of(carriers(ALL, views))
    made = make(network, ids, [1, 2], condition)
    assert made.shape == ids.shape
    assert made.dtype == torch.int64
    assert torch.equal(made[0, :, :1], ids[0, :, :1])
    assert torch.equal(made[1, :, :2], ids[1, :, :2])
    scrambled = ids.clone()
    scrambled[0, :, 1:], scrambled[1, :, 2:] = 0, 0
    assert torch.equal(make(network, scrambled, [1, 2], condition), made)
    assert not torch.equal(make(network, ids, [1, 2], condition, seeds=(5, 6)), made)


def test_greedy_tokens_are_the_full_forwards_likeliest() -> None:
    network, ids, given = model(TOY_TEXT, ALL), tokens(2), carriers(ALL, 2)
    made = make(network, ids, [1, 1], condition_of(given), config=Sampler(temperature=0.0))
    layout = network.layout(2, 3, 3, 4)
    cells = layout.to_sequence(made)
    with torch.no_grad():
        logits = network(with_begin(network, cells, layout), network.guide(layout, **given))
    assert torch.equal(logits[:, 24:-1].argmax(-1), cells[:, 24:])


def test_a_clip_does_not_depend_on_its_batch() -> None:
    network, ids = model(TOY_TEXT), tokens()
    both = make(network, ids, [1, 2])
    alone = make(network, ids[1:], [2], seeds=(4,))
    assert torch.equal(both[1:], alone)


def test_guidance_moves_away_from_the_null_condition() -> None:
    network, ids = model(TOY_TEXT), tokens()
    condition = condition_of(carriers(Widths(text=20)))
    null = Condition(text_BVLD=torch.zeros_like(condition.text_BVLD))
    plain = make(network, ids, [1, 1], condition)
    assert torch.equal(make(network, ids, [1, 1], condition, null), plain)
    assert torch.equal(make(network, ids, [1, 1], condition, condition, config=Sampler(guidance=3.0)), plain)
    assert not torch.equal(make(network, ids, [1, 1], condition, null, config=Sampler(guidance=3.0)), plain)


def test_nothing_given_needs_a_begin_token() -> None:
    ids = tokens()
    assert make(model(TOY_TEXT), ids, [0, 0]).shape == ids.shape
    with pytest.raises(ValueError, match="no begin token: give at least one latent frame"):
        make(model(TOY), ids, [0, 1])


def test_a_smaller_grid_is_taken_and_a_larger_one_refused() -> None:
    network, ids = model(TOY_TEXT), tokens()
    assert make(network, ids[:, :, :2, :2, :3], [1, 1]).shape == (2, 1, 2, 2, 3)
    with pytest.raises(ValueError, match="larger than the network's"):
        make(network, ids.repeat(1, 1, 1, 2, 1), [1, 1])


# --- longer than the base's sequences


def test_windows_cover_a_clip_once() -> None:
    got = [(window.frames, window.num_known) for window in windows(9, 4, Sampler(context_frames=2, sink_frames=1))]
    assert got[:3] == [((0, 1, 2, 3), 0), ((0, 2, 3, 4), 3), ((0, 3, 4, 5), 3)]
    for frames in range(1, 12):
        new = [frame for window in windows(frames, 4, Sampler()) for frame in window.frames[window.num_known :]]
        assert new == list(range(frames))
    with pytest.raises(ValueError, match="must together be below 4, the frames of the base, got 4"):
        list(windows(5, 4, Sampler(context_frames=4)))


def test_a_long_clip_goes_on_where_the_short_one_ends() -> None:
    network, ids = model(TOY_TEXT, ALL), tokens(frames=7)
    given = carriers(ALL, frames=7)
    made = make(network, ids, [1, 1], condition_of(given))
    short = {name: tensor if name == "text_BVLC" else tensor[:, :, :4] for name, tensor in given.items()}
    assert torch.equal(made[:, :, :4], make(network, ids[:, :, :4], [1, 1], condition_of(short)))
    later = {name: tensor if name == "text_BVLC" else tensor[:, :, 2:6] for name, tensor in given.items()}
    greedy = Sampler(temperature=0.0)
    long = make(network, ids, [1, 1], condition_of(given), config=greedy)
    again = make(network, long[:, :, 2:6], [2, 2], condition_of(later), config=greedy)
    assert torch.equal(again, long[:, :, 2:6]), "a window sees its own frames' tokens and controls, no other"


def test_settings_that_make_no_sense_are_refused() -> None:
    for change, message in (
        ({"temperature": -1.0}, "temperature must not be negative"),
        ({"top_p": 0.0}, "top_p must lie above 0"),
        ({"top_k": -1}, "top_k must not be negative"),
        ({"guidance": -0.1}, "guidance must not be negative"),
        ({"context_frames": 0}, "context_frames must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(Sampler(), **change)
