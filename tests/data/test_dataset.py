"""The native dataset: what is written is read back; windows, splits and cameras are right."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.data.recordings import dataset, episode, numbered_video, numbers_of
from worldtune.dataset import Dataset, Episode, Window, write_dataset
from worldtune.dataset.schema import DTYPES
from worldtune.video.write import write_video

SMALL = Window(num_frames=5, height_px=16, width_px=16)


@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=3),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
def test_features_round_trip(lengths: list[int], shape: tuple[int, ...], dtype: str, data: st.DataObject) -> None:
    values = [data.draw(hnp.arrays(dtype, (length, *shape))) for length in lengths]
    values = [np.clip(np.nan_to_num(value), -1e6, 1e6).astype(dtype) for value in values]
    cameras = [np.full((2, length, 4), 3.5, np.float32) for length in lengths]
    episodes = [
        episode(length, ("a", "b"), text=f"task {length}", signal=value, **{"camera.intrinsics": camera})
        for length, value, camera in zip(lengths, values, cameras, strict=True)
    ]
    with TemporaryDirectory() as folder:
        read = Dataset.open(write_dataset(Path(folder) / "d", episodes, fps_hz=10))
        assert read.features == {"action": (3,), "signal": shape, "camera.intrinsics": (4,)}
        for index, written in enumerate(episodes):
            signals = read.signals(index)
            assert signals.keys() == written.features.keys()
            for name, value in written.features.items():
                assert signals[name].dtype == value.dtype
                assert np.array_equal(signals[name], value)
            assert read.episodes[index].texts == (written.texts, written.texts)


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, 15), num_frames=st.integers(1, 9), fps_hz=st.sampled_from([None, 10.0, 5.0, 4.0, 3.3]))
def test_clips_hold_the_nearest_frames(start: int, num_frames: int, fps_hz: float | None) -> None:
    window = Window(num_frames=num_frames, height_px=16, width_px=24, fps_hz=fps_hz)
    with TemporaryDirectory() as folder:
        read = Dataset.open(dataset(Path(folder) / "d", (3, 20, 4)))
        wanted = [start + int(k * 10 / (fps_hz or 10) + 0.5 - 1e-9) for k in range(num_frames)]
        if wanted[-1] >= 20:
            with pytest.raises(ValueError, match=f"episode 1 has 20 frames, a clip from {start} needs"):
                read.read_clip(1, start, window)
            return
        clip = read.read_clip(1, start, window)
    # Episode 1 of the fixture counts from 1, and its first action is 1 too.
    assert numbers_of(clip.video_VTHWC[0]) == [1 + frame for frame in wanted]
    assert clip.features["action"][:, 0].tolist() == [1 + 3 * frame for frame in wanted]
    assert clip.video_VTHWC.shape == (1, num_frames, 16, 24, 3)
    assert clip.fps_hz == (fps_hz or 10)
    assert clip.id == f"d-000001-{start:06d}"


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 60), num_frames=st.integers(1, 20), stride=st.integers(1, 25), share=st.floats(0.2, 1))
def test_windows_lie_inside_and_none_is_missed(length: int, num_frames: int, stride: int, share: float) -> None:
    window = Window(num_frames=num_frames, height_px=8, width_px=8, stride=stride, fps_hz=30 * share)
    starts = window.starts(length, 30)
    span = window.source_frames(0, 30)[-1] + 1
    assert all(start + span <= length for start in starts)
    assert bool(starts) == (span <= length)
    if starts:
        assert starts[0] == 0
        assert length - span - starts[-1] <= stride * 30 / window.rate_hz(30) + 1


def test_neighbours_share_one_frame_by_default(tmp_path: Path) -> None:
    refs, _ = Dataset.open(dataset(tmp_path / "d", (13, 12))).windows(SMALL)
    assert [(ref.episode, ref.start_frame) for ref in refs] == [(0, 0), (0, 4), (0, 8), (1, 0), (1, 4)]


def test_short_episodes_are_dropped_with_the_reason(tmp_path: Path) -> None:
    refs, dropped = Dataset.open(dataset(tmp_path / "d", (12, 4))).windows(SMALL)
    assert {ref.episode for ref in refs} == {0}
    assert [drop.episode for drop in dropped] == [1]
    assert dropped[0].reason == "has 4 frames at 10 Hz, a clip of 5 frames at 10 Hz spans 5"


def test_window_faster_than_the_dataset(tmp_path: Path) -> None:
    read = Dataset.open(dataset(tmp_path / "d"))
    with pytest.raises(ValueError, match="fps_hz is 24 but the dataset has 10: frames would repeat; choose fps_hz 10"):
        read.windows(Window(num_frames=5, height_px=16, width_px=16, fps_hz=24))


@pytest.mark.parametrize(("num_episodes", "num_val"), [(1, 0), (2, 1), (9, 1), (10, 1), (21, 2)])
def test_last_tenth_is_val_without_splits(tmp_path: Path, num_episodes: int, num_val: int) -> None:
    splits = [e.split for e in Dataset.open(dataset(tmp_path / "d", (2,) * num_episodes)).episodes]
    assert splits == ["train"] * (num_episodes - num_val) + ["val"] * num_val


def test_splits_of_the_dataset_are_kept(tmp_path: Path) -> None:
    splits = {"val": "0:1", "train": "1:3"}
    write_dataset(tmp_path / "d", (episode(3, first=i) for i in range(4)), fps_hz=10, splits=splits)
    assert [e.split for e in Dataset.open(tmp_path / "d").episodes] == ["val", "train", "train", "unused"]
    with pytest.raises(ValueError, match="episode 1 is in split 'train' and in 'val'"):
        write_dataset(tmp_path / "e", [episode()] * 3, fps_hz=10, splits={"train": "0:2", "val": "1:3"})
    assert not (tmp_path / "e").exists()


def test_cameras_captions_and_intrinsics(tmp_path: Path) -> None:
    views = ("front", "rear_left")
    intrinsics = np.tile(np.array([40, 40, 24, 16], np.float32), (2, 12, 1))
    poses = np.tile(np.eye(4, dtype=np.float32), (2, 12, 1, 1))
    poses[1, :, 0, 3] = np.arange(12)
    features = {"camera.intrinsics": intrinsics, "camera.world_from_camera": poses}
    recorded = [episode(12, views, text=("a road", "a wall"), **features), episode(12, views, text="rain", **features)]
    read = Dataset.open(write_dataset(tmp_path / "d", recorded, fps_hz=10))
    assert read.views == views
    clip = read.read_clip(0, 2, SMALL)
    assert clip.texts == ("a road", "a wall")
    assert read.read_clip(1, 0, SMALL).texts == ("rain", "rain")
    assert numbers_of(clip.video_VTHWC[1]) == [7, 8, 9, 10, 11]
    assert clip.features["camera.world_from_camera"][1, :, 0, 3].tolist() == [2, 3, 4, 5, 6]
    # 32x48 is cut to 32x32 and halved: half the focal length, the centre stays in the middle.
    assert clip.features["camera.intrinsics"][0, 0].tolist() == [20, 20, 8, 8]


def test_a_camera_without_a_caption_does_not_take_that_of_another(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", [episode(3, ("front", "rear"), text=("a road", ""))], fps_hz=10)
    assert Dataset.open(folder).episodes[0].texts == ("a road", "")
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    place = table.schema.names.index("captions/rear")
    pq.write_table(table.set_column(place, "captions/rear", pa.array([None], pa.string())), path)
    assert Dataset.open(folder).episodes[0].texts == ("a road", "a road")
    pq.write_table(table.remove_column(place), path)
    assert Dataset.open(folder).episodes[0].texts == ("a road", "a road")


def test_one_number_per_frame_becomes_a_vector_of_one(tmp_path: Path) -> None:
    read = Dataset.open(write_dataset(tmp_path / "d", [episode(4, speed=np.arange(4.0))], fps_hz=10))
    assert read.signals(0)["speed"].tolist() == [[0], [1], [2], [3]]


def test_files_are_copied_when_they_can_be(tmp_path: Path) -> None:
    for index in range(2):
        write_video(tmp_path / f"{index}.mp4", numbered_video(6, first=10 * index), 10)
    recorded = [
        Episode(name=str(i), videos={"main": tmp_path / f"{i}.mp4"}, fps_hz=10, texts=f"video {i}", facts={"seed": i})
        for i in range(2)
    ]
    read = Dataset.open(write_dataset(tmp_path / "d", [*recorded, episode(6, ("main",))][:2], fps_hz=10))
    assert numbers_of(read.frames(1, "main", [0, 5])) == [10, 15]
    assert [e.facts for e in read.episodes] == [{"name": "0", "seed": 0}, {"name": "1", "seed": 1}]
    assert [e.videos["main"].path.name for e in read.episodes] == ["file-000.mp4", "file-001.mp4"]


def test_layout_is_lerobots(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", (3, 4))
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert info["fps"] == 10
    assert info["splits"] == {"train": "0:2"}
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 7, 1)
    assert info["features"]["observation.images.front"]["dtype"] == "video"
    rows = pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(7))
    assert [row["frame_index"] for row in rows] == [0, 1, 2, 0, 1, 2, 3]
    assert [row["episode_index"] for row in rows] == [0, 0, 0, 1, 1, 1, 1]
    assert rows[2]["timestamp"] == pytest.approx(0.2)
    second = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    assert second["videos/observation.images.front/from_timestamp"] == pytest.approx(0.3)
    assert second["videos/observation.images.front/to_timestamp"] == pytest.approx(0.7)
    assert (second["dataset_from_index"], second["dataset_to_index"]) == (3, 7)
    assert second["stats/action/count"] == [4]
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert tasks["task"].to_pylist() == ["push the red cube"]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_of_all_episodes(tmp_path: Path) -> None:
    recorded = [episode(4, first=1), episode(7, first=9)]
    folder = write_dataset(tmp_path / "d", recorded, fps_hz=10)
    stats = json.loads((folder / "meta/stats.json").read_text())
    actions = np.concatenate([e.features["action"] for e in recorded])
    for name, wanted in (("min", actions.min(0)), ("max", actions.max(0)), ("mean", actions.mean(0))):
        assert stats["action"][name] == pytest.approx(wanted)
    assert stats["action"]["std"] == pytest.approx(actions.std(0))
    assert stats["action"]["count"] == [11]
    assert np.shape(stats["observation.images.front"]["mean"]) == (3, 1, 1)
