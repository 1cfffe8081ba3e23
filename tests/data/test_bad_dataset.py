"""Bad recordings and bad datasets: one clear sentence each, and nothing that existed before is damaged."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.recordings import dataset, episode, numbered_video, snapshot, truncate
from worldtune.dataset import Dataset, Episode, write_dataset
from worldtune.dataset.faults import find_faults

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"


def bad_action(value: float) -> np.ndarray:
    actions = np.zeros((12, 3), np.float32)
    actions[7, 1] = value
    return actions


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (episode(fps_hz=12.0), "fps_hz is 12, the dataset has 10"),
        (episode(views=("rear",)), r"cameras \['rear'\], the dataset has \['front'\]"),
        (episode(action=np.zeros((12, 4), np.float32)), "feature 'action' is .*4.*, earlier episodes have .*3"),
        (episode(action=np.zeros((11, 3), np.float32)), "differ in their number of frames: front 12, action 11"),
        (episode(action=bad_action(np.nan)), "action has a value that is not finite at frame 7"),
        (episode(action=bad_action(np.inf)), "action has a value that is not finite at frame 7"),
        (episode(action=np.zeros((12, 3), np.complex64)), "action has dtype complex64, wanted one of float32"),
        (episode(timestamp=np.zeros(12)), "the name 'timestamp' is reserved"),
        (episode(text="word " * 2000), "the caption has 10000 characters, at most 4000 are allowed"),
        (episode(text=("a", "b")), "2 texts for 1 cameras"),
        (replace(episode(), videos={"front": numbered_video(12, 16, 16)}), "front is 16x16 px, .* have 32x48"),
        (replace(episode(), videos={"front": np.zeros((12, 32, 48, 3))}), r"must be uint8 \[T,H,W,3\].*got float64"),
        (replace(episode(), videos={"front": Path("absent.mp4")}), "absent.mp4: no such video file"),
        (episode(**{"camera.intrinsics": np.zeros((12, 4))}), r"camera.intrinsics has shape \[12, 4\], wanted \[1,T"),
    ],
)
def test_bad_recording_leaves_nothing_behind(tmp_path: Path, bad: Episode, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_dataset(tmp_path / "d", [episode(), bad], fps_hz=10)
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_kept(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    before = snapshot(folder)
    with pytest.raises(ValueError, match="d: exists already; choose another folder or delete it"):
        write_dataset(folder, [episode()], fps_hz=10)
    assert snapshot(folder) == before


def test_interrupted_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def episodes() -> Iterator[Episode]:
        yield episode()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "d", episodes(), fps_hz=10)
    assert list(tmp_path.iterdir()) == []


def test_no_episodes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no episodes to write"):
        write_dataset(tmp_path / "d", [], fps_hz=10)


def edit_info(folder: Path, **changes: object) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_table(path: Path, name: str, column: pa.Array | None) -> None:
    table = pq.read_table(path)
    position = table.schema.names.index(name)
    table = table.remove_column(position)
    pq.write_table(table if column is None else table.append_column(name, column), path)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"not a LeRobot v3 dataset \(no meta/info.json\); make one with `worldtune conv"
    ):
        Dataset.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codebase_version": "v2.1"}, "codebase_version is v2.1, .*`worldtune convert .*d NEW --layout lerobot`$"),
        ({"codebase_version": "v1.6"}, "codebase_version is v1.6, .*; convert the dataset with LeRobot first$"),
        ({"fps": 0}, "fps is 0.0, wanted a positive number"),
        ({"fps": "fast"}, "fps is 'fast', wanted a number"),
        ({"features": {}}, "features has no camera"),
        ({"features": {"observation.images.front": {"dtype": "video"}}}, "feature '.*' must have dtype and shape"),
        ({"total_episodes": 9}, "3 episodes are listed, meta/info.json says 9"),
        ({"total_frames": 9}, "total_frames is 9, the episodes have 41"),
        ({"splits": {"train": "0:2", "val": "2:7"}}, "split 'val' is '2:7', wanted FIRST:END within 0:3"),
    ],
)
def test_wrong_info(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    folder = dataset(tmp_path / "d")
    edit_info(folder, **changes)
    with pytest.raises(ValueError, match=rf"(info\.json|meta/episodes): {words}"):
        Dataset.open(folder)


def test_info_is_no_json(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    truncate(folder / "meta/info.json")
    with pytest.raises(ValueError, match=r"info\.json: not valid JSON"):
        Dataset.open(folder)


@pytest.mark.parametrize(
    ("file", "column", "values", "words"),
    [
        (DATA, "action", None, "no column 'action'"),
        (
            DATA,
            "action",
            pa.array(["up"] * 41),
            r"column 'action' is string, wanted float32 \[3\] as meta/info.json says",
        ),
        (DATA, "frame_index", pa.array(["a"] * 41), "column 'frame_index' is string, wanted integer"),
        (EPISODES, "length", None, "no column 'length'"),
        (EPISODES, "length", pa.array([12, 9, 21]), "episode 2 has length 21, its rows do not agree"),
        (EPISODES, "tasks", pa.array(["a"] * 3), "column 'tasks' is string, wanted list of strings"),
        (EPISODES, "tasks", pa.array([["fly"]] * 3), "episode 0 has the task 'fly', which meta/tasks.parquet does not"),
        ("meta/tasks.parquet", "task_index", None, "no column 'task_index'"),
        ("meta/tasks.parquet", "task", pa.array([7]), "column 'task' is int64, wanted string"),
        ("meta/tasks.parquet", "task", pa.array([None], pa.string()), "column 'task' has a row without a text"),
    ],
)
def test_wrong_parquet_schema(tmp_path: Path, file: str, column: str, values: pa.Array | None, words: str) -> None:
    folder = dataset(tmp_path / "d")
    edit_table(folder / file, column, values)
    with pytest.raises(ValueError, match=f"parquet: {words}"):
        Dataset.open(folder)


@pytest.mark.parametrize("file", [DATA, EPISODES, "meta/tasks.parquet"])
def test_truncated_parquet(tmp_path: Path, file: str) -> None:
    folder = dataset(tmp_path / "d")
    truncate(folder / file)
    with pytest.raises(ValueError, match=r"\.parquet: not a readable parquet file"):
        Dataset.open(folder)
    (folder / file).unlink()
    with pytest.raises(ValueError, match="no such file|no parquet file"):
        Dataset.open(folder)


def faults_of(folder: Path) -> list[str]:
    return [str(fault) for fault in find_faults(Dataset.open(folder))]


def test_whole_dataset_has_no_fault(tmp_path: Path) -> None:
    assert faults_of(dataset(tmp_path / "d")) == []


def test_nan_in_features_is_found(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    actions = np.zeros((41, 3), np.float32)
    actions[14, 2] = np.nan
    edit_table(folder / DATA, "action", pa.array(actions.tolist()))
    (fault,) = faults_of(folder)
    assert fault == f"{folder / DATA}: episode 1: action: 1 values are missing, NaN or infinite, the first at frame 2"


def test_wrong_timestamps_are_found(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", (5,))
    edit_table(folder / DATA, "timestamp", pa.array(np.arange(5) / 12))
    (fault,) = faults_of(folder)
    assert "episode 0: timestamp: is 0.0667 s off the uniform grid of 10 Hz that meta/info.json states" in fault


def test_rows_of_another_shape_are_found(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", (2,))
    edit_table(folder / DATA, "action", pa.array([[1.0], [1.0, 2.0]]))
    (fault,) = faults_of(folder)
    assert fault.endswith("action: 3 numbers in 2 frames, wanted [3] each")


@pytest.mark.parametrize(("share", "words"), [(0.0, "is empty"), (0.5, "is truncated or not a video")])
def test_damaged_video_is_found(tmp_path: Path, share: float, words: str) -> None:
    folder = dataset(tmp_path / "d", (5,))
    truncate(folder / VIDEO, share)
    (fault,) = faults_of(folder)
    assert fault.startswith(f"{folder / VIDEO}: episode 0: observation.images.front: ")
    assert words in fault


def test_a_lost_video_of_many_episodes_is_one_fault(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    (folder / VIDEO).unlink()
    (fault,) = faults_of(folder)
    rule = "no such video file; 3 episodes lie in it, 0 to 2"
    assert fault == f"{folder / VIDEO}: observation.images.front: {rule}"


def test_video_of_another_size_is_one_fault(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["observation.images.front"]["shape"] = [64, 48, 3]
    edit_info(folder, features=info["features"])
    (fault,) = faults_of(folder)
    assert fault.endswith("frames are 32x48 px, meta/info.json says 64x48; 3 episodes lie in it, 0 to 2")


def test_video_shorter_than_its_episode_is_found(tmp_path: Path) -> None:
    long, short = dataset(tmp_path / "long", (12,)), dataset(tmp_path / "short", (9,))
    (short / VIDEO).rename(long / VIDEO)
    (fault,) = faults_of(long)
    assert fault.endswith("too short: the episode ends at 1.100 s, the last frame of the file is at 0.800 s")
    with pytest.raises(ValueError, match="too short: a frame is wanted at 0.900 s, the nearest is at 0.800 s"):
        Dataset.open(long).frames(0, "front", range(12))


def test_long_task_is_one_fault(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", (3, 3))
    text = "x" * 10000
    edit_table(folder / "meta/tasks.parquet", "task", pa.array([text]))
    edit_table(folder / EPISODES, "tasks", pa.array([[text]] * 2))
    (fault,) = faults_of(folder)
    rule = "the caption has 10000 characters, at most 4000 are allowed; shorten it here and in meta/episodes"
    assert fault.startswith(f"{folder / 'meta/tasks.parquet'}: task_index 0: {rule}")


def test_long_caption_of_a_camera_is_found(tmp_path: Path) -> None:
    views = "front", "left"
    folder = write_dataset(tmp_path / "d", [episode(3, views=views, text=("ahead", "aside"))], fps_hz=10)
    edit_table(folder / EPISODES, "captions/left", pa.array(["x" * 10000]))
    (fault,) = faults_of(folder)
    assert fault.startswith(f"{folder / 'meta/episodes'}: episode 0: captions/left: the caption has 10000 characters")
