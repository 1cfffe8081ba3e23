"""The probe reads what moves, from video alone.

Shape legend: N clips, V views, T frames, H W rows and columns, C channels, D numbers.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from worldtune.metrics import probe as room
from worldtune.metrics.probe import FILE, Probe, ProbeSize, load_probe, pictures, save_probe, train_probe

R, LATENTS, SIDE_PX = 2, 4, 16


def moving_square(seed: int, views: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A bright square that moves by (dx, dy) px within every latent frame: video, and [T,3] with a constant last."""
    random = np.random.default_rng(seed)
    steps = random.integers(-1, 2, (LATENTS - 1, R, 2))
    place = random.integers(4, 9, 2)
    video = np.full((views, 1 + R * (LATENTS - 1), SIDE_PX, SIDE_PX, 3), 40, np.uint8)
    places = [place, *(place + steps.reshape(-1, 2).cumsum(0)).clip(0, SIDE_PX - 4)]
    for frame, (x, y) in enumerate(places):
        video[:, frame, y : y + 4, x : x + 4] = 220
    moved = np.diff(np.array(places)[::R], axis=0)
    return video, np.pad(np.concatenate([moved, np.full((LATENTS - 1, 1), 7)], 1), ((1, 0), (0, 0))).astype(np.float32)


def school(count: int = 60) -> tuple[torch.Tensor, np.ndarray]:
    videos, targets = zip(*map(moving_square, range(count)), strict=True)
    return torch.stack([pictures(video) for video in videos]), np.stack(targets)


@pytest.fixture(scope="module")
def trained() -> tuple[Probe, room.Schooling]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "VISITS", 4000)
        return train_probe(*school(), groups_N=range(60))


def test_it_reads_the_motion_of_clips_it_has_not_seen(trained: tuple[Probe, room.Schooling]):
    probe, schooling = trained
    read, truth = (
        np.concatenate(rows)
        for rows in zip(
            *((probe.read(video)[1:], true[1:]) for video, true in map(moving_square, range(1000, 1020))), strict=True
        )
    )
    explained = 1 - ((read - truth) ** 2).mean(0)[:2] / truth.var(0)[:2]
    assert explained.min() > 0.5
    assert np.allclose(read[:, 2], 7, atol=0.5)
    assert schooling.explained > 0.5
    assert schooling.explained_D[2] == 0
    assert (schooling.num_clips, schooling.num_held_out) == (51, 9)


def test_a_clip_that_stands_still_is_not_read_as_moving(trained: tuple[Probe, room.Schooling]):
    probe, _ = trained
    video, truth = moving_square(2000)
    still = np.broadcast_to(video[:, :1], video.shape).copy()
    assert np.abs(probe.read(still)[1:, :2]).mean() < np.abs(truth[1:, :2]).mean() / 2
    assert not probe.read(video)[0].any()


def test_saved_and_loaded_it_reads_the_same(trained: tuple[Probe, room.Schooling], tmp_path: Path):
    probe, schooling = trained
    save_probe(probe, schooling, "a", tmp_path / "probe-x")
    found = load_probe(tmp_path / "probe-x", "a")
    assert found is not None
    video, _ = moving_square(5)
    assert (found[0].read(video) == probe.read(video)).all()
    assert found[1] == schooling
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [FILE]


def test_a_probe_of_other_data_and_a_damaged_one_are_not_used(trained: tuple[Probe, room.Schooling], tmp_path: Path):
    save_probe(*trained, "a", tmp_path)
    assert load_probe(tmp_path, "b") is None
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:500])
    assert load_probe(tmp_path, "a") is None
    assert load_probe(tmp_path / "none", "a") is None


def test_training_repeats_itself_and_stops_early(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "VISITS", 600)
    monkeypatch.setattr(room, "ROUND_VISITS", 100)
    seen, targets = school(12)
    told: list[int] = []
    one, _ = train_probe(seen, targets, range(12), progress=told.append)
    other, _ = train_probe(seen, targets, range(12))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert told[-1] <= 600 + room.BATCH_SIZE
    noise = np.random.default_rng(0).normal(size=targets.shape).astype(np.float32)
    monkeypatch.setattr(room, "VISITS", 10**9)
    monkeypatch.setattr(room, "PATIENCE", 2)
    _, schooling = train_probe(seen, noise, range(12))
    assert schooling.visits < 10**5


def test_clips_of_one_episode_stay_together():
    groups = np.repeat(np.arange(10), 3)
    held = room._held_out(groups, seed=0)
    assert {tuple(held[groups == group]) for group in range(10)} == {(True,) * 3, (False,) * 3}
    assert 0 < room._held_out([1, 1, 1, 1], seed=0).sum() < 4


def test_views_are_stacked_and_large_pictures_are_made_smaller():
    assert pictures(moving_square(0, views=3)[0]).shape == (7, 9, SIDE_PX, SIDE_PX)
    assert pictures(np.zeros((1, 3, 128, 256, 3), np.uint8)).shape == (3, 3, 64, 128)


def test_what_cannot_be_read_is_refused():
    probe = Probe(ProbeSize(views=1, frames_per_latent=R, height_px=SIDE_PX, width_px=SIDE_PX, numbers=3))
    with pytest.raises(ValueError, match=r"the probe reads clips of 1 \+ 2 k frames"):
        probe.read(np.zeros((1, 4, SIDE_PX, SIDE_PX, 3), np.uint8))
    with pytest.raises(ValueError, match="a probe needs 4 clips of 2 latent frames, got 3 of 4"):
        train_probe(*school(3), groups_N=range(3))
