"""Real recordings, where they are present: kitchen robots (bridge) and a surround rig."""

import shutil
from pathlib import Path

import numpy as np

from tests.data.test_real_clips import real
from worldtune.dataset import Dataset
from worldtune.dataset.faults import find_faults
from worldtune.stages.convert import convert


def test_bridge_episodes(tmp_path: Path) -> None:
    source = real("bridge")
    for split in ("train", "val"):
        for path in sorted((source / f"annotation/{split}").glob("*.json"))[:2]:
            (tmp_path / f"source/annotation/{split}").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / f"source/annotation/{split}")
            shutil.copytree(source / f"videos/{split}/{path.stem}", tmp_path / f"source/videos/{split}/{path.stem}")
    read = Dataset.open(convert(tmp_path / "source", tmp_path / "d", "bridge"))
    assert list(find_faults(read)) == []
    assert [e.split for e in read.episodes] == ["train", "train", "val", "val"]
    assert all(e.texts[0] for e in read.episodes)
    for index in range(4):
        signals = read.signals(index)
        steps_m = np.linalg.norm(np.diff(signals["observation.state"][:, :3], axis=0), axis=1)
        np.testing.assert_allclose(np.linalg.norm(signals["action"][:-1, :3], axis=1), steps_m, atol=1e-5)
        closed_T, commanded_open_T = signals["action"][:-1, 6], signals["commanded_action"][:-1, 6] > 0.5
        assert closed_T[commanded_open_T].mean() < 0.1, "0 is open"
        assert commanded_open_T.all() or closed_T[~commanded_open_T].mean() > 0.4, "1 is closed"
        assert np.abs(signals["action"][:, 3:6]).max() < 1, "no step turns by more than 1 rad: angles do not wrap"


def test_surround_clip(tmp_path: Path) -> None:
    source = real("surround")
    read = Dataset.open(convert(source, tmp_path / "d", "surround-tiles", allow_missing_captions=True))
    assert list(find_faults(read)) == []
    assert len(read.views) == 6
    assert {e.length for e in read.episodes} == {9}
    starts = np.stack([read.frames(0, view, [0, 8]).astype(float) for view in read.views])
    within = np.abs(starts[:, 0] - starts[:, 1]).mean(axis=(1, 2, 3))
    between = np.abs(starts[:-1, 1] - starts[1:, 0]).mean(axis=(1, 2, 3))
    assert within.max() < between.min(), "frames of one camera are more alike than those of neighbouring cameras"
