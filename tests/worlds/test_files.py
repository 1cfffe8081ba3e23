"""Shards, datasets, the command line and the shipped samples."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.worlds.conftest import NAMES
from worlds import lerobot, shards
from worlds.__main__ import main
from worlds.record import Episode
from worldtune.dataset import Dataset, Window

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize("name", NAMES)
def test_shards_hold_the_pixels_without_loss(episodes: dict[str, Episode], name: str, tmp_path: Path) -> None:
    assert shards.write_shards([episodes[name]] * 2, tmp_path) == 2
    with np.load(tmp_path / "shard_00003.npz") as arrays:
        np.testing.assert_array_equal(arrays["video"][1], episodes[name].video_VTHWC)
        assert arrays["captions"].tolist() == [episodes[name].caption] * 2
        assert arrays["camera.world_from_camera"].shape[0] == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_gives_back_what_was_recorded(episodes: dict[str, Episode], name: str, tmp_path: Path) -> None:
    episode = episodes[name]
    splits = {"train": 1, "val": 1}
    lerobot.write(tmp_path / "set", [episode, episode], world=name, fps_hz=10, splits=splits, crf=8)
    dataset = Dataset.open(tmp_path / "set")
    assert [info.split for info in dataset.episodes] == ["train", "val"]
    clip = dataset.read_clip(1, 0, Window(num_frames=5, height_px=32, width_px=32))
    assert clip.views == episode.views
    assert np.abs(clip.video_VTHWC.astype(float) - episode.video_VTHWC).mean() < 6
    poses = episode.camera_features["camera.world_from_camera"]
    np.testing.assert_allclose(clip.features["camera.world_from_camera"], poses, atol=1e-6)
    for key, values in episode.features.items():
        np.testing.assert_allclose(clip.features[key], values, atol=1e-6)
    assert dataset.episodes[0].facts["instruction"] == episode.instruction


def test_the_command_writes_both_splits(renderer: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "worlds render rooms --episodes 1 --val-episodes 1 --frames 2 --size 16 --workers 1 --out"
    monkeypatch.setattr(sys, "argv", [*words.split(), str(tmp_path / "rooms")])
    assert main() == 0
    assert [info.split for info in Dataset.open(tmp_path / "rooms").episodes] == ["train", "val"]


def test_a_wrong_camera_is_one_sentence(
    renderer: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "worlds render street --cameras front,roof --episodes 1 --frames 2 --size 16 --workers 1 --out"
    monkeypatch.setattr(sys, "argv", [*words.split(), str(tmp_path / "street")])
    assert main() == 1
    assert "camera 'roof' is not part of the rig" in capsys.readouterr().err


def test_without_mujoco_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    monkeypatch.delitem(sys.modules, "worlds.scene", raising=False)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[worlds\]'"):
        importlib.import_module("worlds.scene")


@pytest.mark.parametrize("name", ["tabletop", "rooms", "street", "tabletop-heldout"])
def test_samples_load(name: str) -> None:
    dataset = Dataset.open(SAMPLES / name)
    assert {info.split for info in dataset.episodes} == {"train", "val"}
    clip = dataset.read_clip(len(dataset.episodes) - 1, 0, Window(num_frames=33, height_px=64, width_px=64))
    assert clip.video_VTHWC.shape == (3 if name == "street" else 1, 33, 64, 64, 3)
    assert {"camera.intrinsics", "camera.world_from_camera"} <= set(clip.features)
