"""Views that show one drive agree; a view of another drive, or a late one, does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from worldtune.contract.randomness import generator
from worldtune.controls.views import obedience
from worldtune.metrics import probe
from worldtune.metrics.crossview import ViewProbes, load_view_probes, train_view_probes

FRAMES, SIDE_PX = 9, 16


def test_errors_are_mean_distances_between_views():
    read = np.zeros((3, 3, 3), np.float32)  # latent frames, views, numbers
    read[1, 1] = [3, 4, 0.5]
    read[2, 2] = [0, 6, -0.3]
    flat = read.reshape(3, 9)
    wanted = {"cross_view_motion_m": (5 + 5 + 6 + 6) / 6, "cross_view_turn_rad": (0.5 + 0.5 + 0.3 + 0.3) / 6}
    assert wanted.keys() == obedience.MEASURES.keys()
    assert obedience.errors(flat, flat, 0) == pytest.approx(wanted)
    assert obedience.errors(flat, flat, 2) == pytest.approx({"cross_view_motion_m": 4.0, "cross_view_turn_rad": 0.2})
    with pytest.raises(ValueError, match="all 3 latent frames are observed"):
        obedience.errors(flat, flat, 3)


def test_targets_are_the_ego_motion_once_per_view():
    motion = np.arange(6, dtype=np.float32).reshape(2, 3)
    names = np.zeros((2, 8), np.uint8)
    assert obedience.targets({"names": names, "ego_motion": motion})[1].tolist() == [3, 4, 5, 3, 4, 5]
    with pytest.raises(ValueError, match="has no ego.world_from_ego"):
        obedience.targets({"names": names})
    with pytest.raises(ValueError, match="one view has no other"):
        obedience.targets({"names": names[:1], "ego_motion": motion})


def drive(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Two views of stripes that move by one speed per latent frame, the second the other way; and that speed, m."""
    draw = generator(0, number, "drive")
    speeds = torch.randint(-2, 3, (2,), generator=draw).numpy()
    phase = int(torch.randint(16, (), generator=draw))
    places = np.concatenate([[0], np.cumsum(np.repeat(speeds, 4))])
    columns = np.arange(SIDE_PX)
    stripes = [
        np.stack([np.where((columns + phase - sign * at) % 16 < 8, 200, 40) for at in places]) for sign in (1, -1)
    ]
    video = np.broadcast_to(np.stack(stripes)[:, :, None, :, None], (2, FRAMES, SIDE_PX, SIDE_PX, 3))
    motion = np.zeros((3, 3), np.float32)
    motion[1:, 0] = speeds
    return video.astype(np.uint8), np.tile(motion, (1, 2))


@pytest.fixture(scope="module")
def probes() -> ViewProbes:
    drives = [drive(number) for number in range(60)]
    pictures = torch.stack([probe.pictures(video) for video, _ in drives])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "VISITS", 2400)
        patch.setattr(probe, "ROUND_VISITS", 600)
        heard: list[int] = []
        made = train_view_probes(pictures, np.stack([motion for _, motion in drives]), range(60), 0, heard.append)
    assert heard == sorted(heard)
    return made


def disagreement(probes: ViewProbes, video: np.ndarray) -> float:
    read = probes.read(video)
    return obedience.errors(read, read, 1)["cross_view_motion_m"]


def test_a_view_of_another_drive_disagrees(probes: ViewProbes):
    drives = [drive(number)[0] for number in range(100, 112)]
    true = np.mean([disagreement(probes, video) for video in drives])
    foreign = [np.stack([one[0], other[1]]) for one, other in zip(drives, drives[1:] + drives[:1], strict=True)]
    assert np.mean([disagreement(probes, video) for video in foreign]) > 2 * true
    with pytest.raises(ValueError, match="probes for 2 views, the clip has 1"):
        probes.read(drives[0][:1])


def test_probes_come_back_from_disk(probes: ViewProbes, tmp_path: Path):
    probes.save("key", tmp_path / "probe")
    again = load_view_probes(tmp_path / "probe", "key", 2)
    assert again is not None
    video = drive(7)[0]
    assert np.array_equal(again.read(video), probes.read(video))
    assert again.schooling == probes.schooling
    assert load_view_probes(tmp_path / "probe", "another key", 2) is None
    assert load_view_probes(tmp_path / "probe", "key", 3) is None
