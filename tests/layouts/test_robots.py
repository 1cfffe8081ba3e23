"""Layouts of robots: bridge, and LeRobot before version 3."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.recordings import numbered_video, numbers_of, truncate
from tests.layouts.foreign import change_json, write_json
from worldtune import __main__ as command_line
from worldtune.contract.files import read_json
from worldtune.dataset import Dataset
from worldtune.dataset.faults import find_faults
from worldtune.stages.convert import convert
from worldtune.video.write import write_video

HALF_TURN = [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0, np.pi / 2], [1.0, 2.0, 0.5, 0.0, 0.0, np.pi / 2]]
"""One metre along x, turning to the left; then two metres to the left, which the gripper sees as ahead, and up."""


def bridge_episode(source: Path, split: str, name: str, text: str, first: int = 0, fps_hz: float = 5.0) -> None:
    value = {
        "texts": [text],
        "videos": [{"video_path": f"videos/{split}/{name}/rgb.mp4"}],
        "action": [[0.5] * 7, [0.25] * 7],
        "state": [[*row, 1.0] for row in HALF_TURN],
        "continuous_gripper_state": [0.0, 0.25, 0.75],
        "episode_id": name,
    }
    write_json(source / f"annotation/{split}/{name}.json", value)
    write_video(source / f"videos/{split}/{name}/rgb.mp4", numbered_video(3, first=first), fps_hz)


def bridge(source: Path) -> Path:
    bridge_episode(source, "train", "10", "open the drawer", 2)
    bridge_episode(source, "train", "9", "pick up the pot", 1)
    bridge_episode(source, "val", "4", "close the drawer", 3)
    return source


def test_bridge(tmp_path: Path) -> None:
    read = Dataset.open(convert(bridge(tmp_path / "source"), tmp_path / "d", "bridge"))
    assert list(find_faults(read)) == []
    assert [e.facts["name"] for e in read.episodes] == ["train/9.json", "train/10.json", "val/4.json"]
    assert [(e.split, e.texts[0]) for e in read.episodes][1:] == [
        ("train", "open the drawer"),
        ("val", "close the drawer"),
    ]
    assert (read.fps_hz, read.views) == (5, ("main",))
    assert numbers_of(read.frames(0, "main", range(3))) == [1, 2, 3]
    signals = read.signals(0)
    wanted = [[1, 0, 0, 0, 0, np.pi / 2, 0.25], [2, 0, 0.5, 0, 0, 0, 0.75], [0, 0, 0, 0, 0, 0, 0.75]]
    np.testing.assert_allclose(signals["action"], wanted, atol=1e-6)
    np.testing.assert_allclose(signals["observation.state"][:, 6], [0, 0.25, 0.75])
    np.testing.assert_allclose(signals["observation.state"][:, :6], HALF_TURN, atol=1e-6)
    np.testing.assert_allclose(signals["commanded_action"][:, 0], [0.5, 0.25, 0])


def test_bridge_rates(tmp_path: Path) -> None:
    source = bridge(tmp_path / "source")
    bridge_episode(source, "val", "4", "close the drawer", 3, fps_hz=3.0)
    with pytest.raises(ValueError, match=r"val/4/rgb\.mp4: has 3 Hz, .* has 5 Hz; give the true rate with --fps-hz"):
        convert(source, tmp_path / "d", "bridge")
    read = Dataset.open(convert(source, tmp_path / "d", "bridge", fps_hz=4))
    assert read.fps_hz == 4
    assert numbers_of(read.frames(2, "main", range(3))) == [3, 4, 5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("state"), r"annotation/val/4\.json: no entry 'state'"),
        (lambda v: v.update(state="x"), r"4\.json: state is 'x', wanted list"),
        (lambda v: v.update(state=[[1, 2], [3]]), r"4\.json: state is .*wanted numbers of shape"),
        (lambda v: v["state"].pop(), r"4\.json: continuous_gripper_state has shape \[3\]"),
        (
            lambda v: v["continuous_gripper_state"].__setitem__(1, None),
            r"continuous_gripper_state has a value .*at \[1\]",
        ),
        (lambda v: v.update(texts=[""]), r"4\.json: texts is \[''\], wanted a list .*give --allow-missing-cap"),
        (lambda v: v.update(videos=[]), r"4\.json: videos is empty"),
        (lambda v: v["videos"][0].pop("video_path"), r"4\.json: videos\[0\]: no entry 'video_path'"),
        (lambda v: v["videos"][0].update(video_path="videos/x.mp4"), r"videos/x\.mp4: no such video file"),
        (
            lambda v: [v[name].pop() for name in ("state", "continuous_gripper_state", "action")],
            "state has 2 rows, .* has 3 frames",
        ),
        (lambda v: v["texts"].insert(0, "x" * 4001), r"annotation/val/4\.json: texts: the caption has 4001 characters"),
        (lambda v: v["action"].pop(), r"4\.json: action has shape \[1, 7\]"),
    ],
)
def test_bad_bridge(tmp_path: Path, change: Any, words: str) -> None:
    source = bridge(tmp_path / "source")
    change_json(source / "annotation/val/4.json", change)
    with pytest.raises(ValueError, match=words):
        convert(source, tmp_path / "d", "bridge")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_damaged_bridge_video_and_empty_folder(tmp_path: Path) -> None:
    source = bridge(tmp_path / "source")
    truncate(source / "videos/val/4/rgb.mp4")
    with pytest.raises(ValueError, match=r"videos/val/4/rgb\.mp4: .*truncated"):
        convert(source, tmp_path / "d", "bridge")
    with pytest.raises(ValueError, match="annotation: no json files in train, val or test"):
        convert(tmp_path, tmp_path / "d", "bridge")


def lerobot(source: Path) -> Path:
    """Version 2.1 with two episodes of 3 and 4 frames."""
    key = "observation.images.top"
    video = {"dtype": "video", "shape": [32, 48, 3], "names": None, "info": {"video.is_depth_map": False}}
    features = {
        key: video,
        "observation.images.depth": {**video, "info": {"video.is_depth_map": True}},
        "action": {"dtype": "float32", "shape": [2], "names": None},
        "camera.intrinsics.top": {"dtype": "float32", "shape": [4], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
        "note": {"dtype": "string", "shape": [1], "names": None},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "chunks_size": 1,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "splits": {"train": "0:1", "val": "1:2"},
        "features": features,
    }
    write_json(source / "meta/info.json", info)
    rows = [{"episode_index": i, "tasks": [text], "length": 3 + i} for i, text in enumerate(["lift", "drop"])]
    (source / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for index, length in enumerate((3, 4)):
        actions = [[float(index), float(frame)] for frame in range(length)]
        columns = {
            "action": pa.array(actions, pa.list_(pa.float32())),
            "camera.intrinsics.top": pa.array([[40.0, 40.0, 24.0, 16.0]] * length, pa.list_(pa.float32())),
            "next.done": pa.array([False] * (length - 1) + [True]),
            "timestamp": pa.array([0.1 * frame for frame in range(length)], pa.float32()),
        }
        (source / f"data/chunk-00{index}").mkdir(parents=True)
        pq.write_table(pa.table(columns), source / f"data/chunk-00{index}/episode_00000{index}.parquet")
        write_video(
            source / f"videos/chunk-00{index}/{key}/episode_00000{index}.mp4", numbered_video(length, first=index), 10.0
        )
    return source


def test_lerobot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        read = Dataset.open(convert(lerobot(tmp_path / "source"), tmp_path / "d", "lerobot"))
    assert "2 of 7 features are texts or depth images, which are dropped" in caplog.text
    assert list(find_faults(read)) == []
    assert (read.views, read.fps_hz, [e.length for e in read.episodes]) == (("top",), 10, [3, 4])
    assert [(e.split, e.texts) for e in read.episodes] == [("train", ("lift",)), ("val", ("drop",))]
    assert numbers_of(read.frames(1, "top", range(4))) == [1, 2, 3, 4]
    assert read.features == {"action": (2,), "camera.intrinsics": (4,), "next.done": (1,)}
    signals = read.signals(1)
    assert signals["action"].tolist() == [[1, 0], [1, 1], [1, 2], [1, 3]]
    assert signals["next.done"][:, 0].tolist() == [False, False, False, True]
    assert signals["camera.intrinsics"].shape == (1, 4, 4)


def test_version_3_is_native_already(tmp_path: Path) -> None:
    native = convert(lerobot(tmp_path / "source"), tmp_path / "d", "lerobot")
    with pytest.raises(ValueError, match=r"codebase_version is v3\.0, the native form: use .*d as it is"):
        convert(native, tmp_path / "e", "lerobot")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("meta/info.json", '"v2.1"', '"v1.6"', r"info\.json: codebase_version is v1\.6, wanted v2\.0 or v2\.1"),
        ("meta/info.json", '"fps"', '"rate"', r"info\.json: no entry 'fps'"),
        ("meta/info.json", '"action"', '"act"', r"episode_000000\.parquet: no column 'act'"),
        ("meta/info.json", '"dtype": "video"', '"dtype": "none"', r"info\.json: features has no camera"),
        ("meta/info.json", "{video_key}", "x", r"videos/chunk-000/x/episode_000000\.mp4: no such video file"),
        ("meta/episodes.jsonl", '"length": 4', '"length": 5', r"episode_000001\.parquet: has 4 rows, .* says 5"),
        ("meta/episodes.jsonl", '["drop"]', "[]", r"episodes\.jsonl: line 2: tasks is \[\], .*--allow-missing-c"),
        ("meta/episodes.jsonl", "drop", "x" * 4001, r"episodes\.jsonl: line 2: tasks: the caption has 4001 characters"),
        ("meta/episodes.jsonl", '"tasks": ["lift"]', '"x": 1', r"episodes\.jsonl: line 1: no entry 'tasks'"),
        ("meta/episodes.jsonl", "}\n{", "\n{", r"episodes\.jsonl: line 1 is not valid JSON"),
    ],
)
def test_bad_lerobot(tmp_path: Path, file: str, old: str, new: str, words: str) -> None:
    source = lerobot(tmp_path / "source")
    text = (source / file).read_text()
    assert old in text
    (source / file).write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=words):
        convert(source, tmp_path / "d", "lerobot")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert read_json(source / "meta/info.json")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layout", "bridge"], r"annotation: no json files in train, val or test"),
        (["--layout", "lerobot"], r"meta/info\.json: no such file"),
        (["--layout", "nuscenes", "--fps-hz", "2"], r"--fps-hz 2: the timestamps of the tables tell the frame rate"),
        (["--layout", "transforms", "--fps-hz", "0"], r"--fps-hz must be positive, got 0"),
        (["--layout", "bridges"], r"did you mean 'bridge'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "source").mkdir()
    monkeypatch.setattr("sys.argv", ["worldtune", "convert", f"{tmp_path}/source", f"{tmp_path}/d", *words])
    with pytest.raises(SystemExit) as stop:
        command_line.main()
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
