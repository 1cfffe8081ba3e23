"""--estimate-poses: which clips stay, where their numbers go, and the maths around structure from motion."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.recordings import clips_folder, numbers_of
from tests.layouts.foreign import LOOKS_ALONG_X, pose, turn_z, walk
from tests.layouts.test_robots import bridge
from worldtune.contract.poses import interpolated, inverse, rotations_from_quaternions
from worldtune.dataset import Dataset
from worldtune.dataset.structure import NotSolvedError
from worldtune.stages import estimate_poses
from worldtune.stages.convert import convert
from worldtune.video.read import read_video

LENS = np.array([40.0, 40.0, 24.0, 16.0])


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for structure from motion: a clip whose first frame is number 1 cannot be solved."""

    def camera_motion(video: Path, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
        assert list(scratch.iterdir()) == []
        numbers = numbers_of(read_video(video))
        if numbers[0] == 1:
            raise NotSolvedError("it drives straight ahead")
        poses = walk(len(numbers))
        poses[:, 0, 3] += numbers[0]
        return poses, np.tile(LENS, (len(numbers), 1))

    monkeypatch.setattr(estimate_poses, "camera_motion", camera_motion)
    monkeypatch.setattr(estimate_poses, "require_pycolmap", lambda: None)


@pytest.mark.usefixtures("solver")
def test_clips_that_fail_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    source = clips_folder(tmp_path / "source", num_videos=3)
    with caplog.at_level("WARNING"):
        read = Dataset.open(convert(source, tmp_path / "d", "videos", estimate_poses=True))
    said = capsys.readouterr().err.splitlines()
    assert [line.split("ETA")[0].strip() for line in said] == [
        *(f"finding camera poses: {number}/3" for number in (1, 2, 3)),
        "camera poses found for 2 of 3 clips",
        *(f"converting: {number}/2" for number in (1, 2)),
    ]
    assert "clip_1.mp4: left out, its camera poses cannot be found: it drives straight ahead" in caplog.text
    assert [e.texts[0] for e in read.episodes] == ["caption 0", "caption 2"]
    assert numbers_of(read.frames(1, "main", [0])) == [2]
    signals = read.signals(1)
    assert signals["camera.world_from_camera"].shape == (1, 12, 4, 4)
    assert signals["camera.world_from_camera"][0, 0, 0, 3] == 2, "the poses are those of clip 2"
    np.testing.assert_allclose(signals["camera.intrinsics"][0, 5], LENS)
    assert read.episodes[0].facts["poses"] == "estimated, scale unknown"


@pytest.mark.usefixtures("solver")
def test_splits_follow_the_clips_that_stay(tmp_path: Path) -> None:
    read = Dataset.open(convert(bridge(tmp_path / "source"), tmp_path / "d", "bridge", estimate_poses=True))
    assert [(e.facts["name"], e.split) for e in read.episodes] == [("train/10.json", "train"), ("val/4.json", "val")]
    assert set(read.features) >= {"action", "camera.world_from_camera"}


@pytest.mark.usefixtures("solver")
def test_no_clip_left(tmp_path: Path) -> None:
    source = clips_folder(tmp_path / "source", num_videos=2)
    (source / "videos/clip_0.mp4").unlink()
    with pytest.raises(ValueError, match="the camera poses of none of 1 clips can be found"):
        convert(source, tmp_path / "d", "videos", estimate_poses=True)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_without_pycolmap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    source = clips_folder(tmp_path / "source", num_videos=1)
    with pytest.raises(ValueError, match=r"--estimate-poses needs `pip install -e '\.\[poses\]'`"):
        convert(source, tmp_path / "d", "videos", estimate_poses=True)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_poses_between_known_ones_turn_and_move_evenly() -> None:
    known = walk(5)[[0, 2, 4]]
    np.testing.assert_allclose(interpolated(np.array([0, 2, 4]), known, np.arange(5)), walk(5), atol=1e-9)
    still = np.stack([np.eye(4)] * 2)
    np.testing.assert_allclose(interpolated(np.array([0, 4]), still, np.array([1])), [np.eye(4)], atol=1e-12)


def test_inverse_and_quaternions() -> None:
    poses = walk(4)
    np.testing.assert_allclose(inverse(poses) @ poses, np.stack([np.eye(4)] * 4), atol=1e-12)
    half = np.sqrt(0.5)
    quaternions = np.array([[1.0, 0, 0, 0], [2 * half, 0, 0, 2 * half]])
    wanted = [np.eye(3), turn_z(np.pi / 2)]
    np.testing.assert_allclose(rotations_from_quaternions(quaternions, "x"), wanted, atol=1e-12)
    assert pose(LOOKS_ALONG_X, [0, 0, 0])[:3, 2].tolist() == [1, 0, 0]
