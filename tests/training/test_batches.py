"""Order is a pure function of (seed, step); clips come out normalised, padded and aligned."""

from pathlib import Path

import pytest
import torch

from worldtune.contract.cache import Cache, CacheHeader, CacheWriter
from worldtune.contract.nouns import Grid
from worldtune.training import batches
from worldtune.training.batches import Clips, ReadAhead, order, rows, training_batches, with_foreign

GRID = Grid(views=2, frames=3, height=2, width=2, frames_per_latent=4, pixels_per_latent=8)
MEAN_TC, STD_TC = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[2.0, 2.0], [4.0, 4.0], [8.0, 8.0]]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    header = CacheHeader(
        base="toy",
        codec="c",
        text_encoder="t",
        dataset="d",
        dataset_identity="i",
        window={},
        grid=GRID,
        controls=["action", "text"],
        arrays={"text/tokens": [2, 5, 3], "action/vectors": [3, 4]},
        latent_mean_TC=MEAN_TC,
        latent_std_TC=STD_TC,
    )
    writer = CacheWriter(tmp_path / "cache", header)
    for number in range(5):
        tensors = {
            "latent": torch.full((2, 3, 2, 2, 2), float(number), dtype=torch.float16),
            "text/tokens": torch.full((2, 1 + number, 3), float(number)),
            "action/vectors": torch.full((3, 4), float(number)),
        }
        info = {"split": "train" if number < 4 else "val", "fps_hz": 10.0 + number, "texts": [], "views": []}
        writer.add(f"clip{number}", tensors, info)
    writer.finish([f"clip{number}" for number in range(5)])
    return Cache.open(tmp_path / "cache")


def test_every_epoch_is_a_permutation() -> None:
    stream = [place for step in range(21) for place in order(0, step, 7, 3)]
    epochs = [stream[start : start + 7] for start in range(0, 63, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 5


def test_order_is_a_pure_function_of_seed_and_step() -> None:
    assert order(3, 5, 100, 8) == order(3, 5, 100, 8)
    assert order(3, 5, 100, 8) != order(4, 5, 100, 8)
    torch.manual_seed(1)
    assert order(3, 5, 100, 8) == order(3, 5, 100, 8)


def test_batch_larger_than_the_data() -> None:
    assert sorted(order(0, 0, 2, 4)) == [0, 0, 1, 1]


def test_latents_are_normalised_by_the_header(cache: Cache) -> None:
    batch = Clips(cache, ("text",)).batch([3, 0])
    assert batch.target.shape == (2, 2, 3, 2, 2, 2)
    assert batch.target.dtype == torch.float32
    assert batch.target[0, 0, :, 0, 0].tolist() == [[1.0, 0.5], [0.0, -0.25], [-0.25, -0.375]]
    assert batch.fps_hz_B.tolist() == [13.0, 10.0]
    assert batch.clip_ids == ("clip3", "clip0")


def test_short_texts_are_padded_and_only_wanted_controls_read(cache: Cache) -> None:
    batch = Clips(cache, ("text",)).batch([1])
    assert batch.controls.keys() == {"text"}
    tokens = batch.controls["text"]["tokens"]
    assert tokens.shape == (1, 2, 5, 3)
    assert tokens[0, 0, :, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_memory_and_files_give_the_same(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Clips(cache, ("text", "action"))
    monkeypatch.setattr(batches, "IN_MEMORY_BYTES", 0)
    read = Clips(cache, ("text", "action"))
    for indices in ([0, 1], [1, 2], [0, 1]):
        assert torch.equal(kept.batch(indices).target, read.batch(indices).target)
    assert (len(kept._kept), len(read._kept)) == (3, 0)


def test_processes_share_a_batch(cache: Cache) -> None:
    clips, train = Clips(cache, ("text",)), cache.indices("train")
    whole = training_batches(clips, train, seed=0, batch_size=4)
    parts = [training_batches(clips, train, seed=0, batch_size=4, rank=rank, num_ranks=2) for rank in (0, 1)]
    for step in range(3):
        ids = whole(step).clip_ids
        assert ids == parts[0](step).clip_ids + parts[1](step).clip_ids
        assert "clip4" not in ids
    with pytest.raises(ValueError, match="cannot be shared equally by 3 processes"):
        training_batches(clips, train, seed=0, batch_size=4, num_ranks=3)


def test_reading_ahead_changes_nothing(cache: Cache) -> None:
    plain = training_batches(Clips(cache, ("text",)), cache.indices("train"), seed=0, batch_size=3)
    ahead = ReadAhead(plain)
    for step in (5, 6, 7, 2):
        assert ahead(step).clip_ids == plain(step).clip_ids
    ahead.close()


def test_rows_and_foreign_controls(cache: Cache) -> None:
    batch = Clips(cache, ("text", "action")).batch([0, 1, 2])
    assert rows(batch, 1, 3).clip_ids == ("clip1", "clip2")
    assert rows(batch, 1, 3).controls["action"]["vectors"][:, 0, 0].tolist() == [1.0, 2.0]
    foreign = with_foreign(batch, "action")
    assert foreign.controls["action"]["vectors"][:, 0, 0].tolist() == [1.0, 2.0, 0.0]
    assert torch.equal(foreign.controls["text"]["tokens"], batch.controls["text"]["tokens"])
    assert torch.equal(foreign.target, batch.target)


def test_a_foreign_control_is_another_one(cache: Cache) -> None:
    batch = Clips(cache, ("text", "action")).batch([0, 0, 1, 1])
    vectors_BTD = with_foreign(batch, "action").controls["action"]["vectors"]
    assert vectors_BTD[:, 0, 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    alike = Clips(cache, ("text", "action")).batch([2, 2])
    assert torch.equal(with_foreign(alike, "action").controls["action"]["vectors"], alike.controls["action"]["vectors"])
