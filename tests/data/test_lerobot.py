"""Datasets as LeRobot itself writes them: images in the data files, several tasks, several files, old column names."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.recordings import dataset, episode, numbered_video, numbers_of
from worldtune.contract.files import read_json, write_json
from worldtune.dataset import Dataset, Window, write_dataset
from worldtune.dataset.faults import find_faults

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
WINDOW = Window(num_frames=2, height_px=16, width_px=16)


def png(pixels_HWC: np.ndarray) -> bytes:
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width, _ = pixels_HWC.shape
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HWC), format="rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def replace_column(path: Path, name: str, values: pa.Array) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.names.index(name), name, values), path)


def test_images_inside_the_data_files(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", (3, 4))
    info = read_json(folder / "meta/info.json")
    info["features"]["observation.images.top"] = {"dtype": "image", "shape": [3, 20, 24], "names": None}
    del info["features"]["observation.images.front"]
    write_json(folder / "meta/info.json", {**info, "video_path": None})
    images = [{"bytes": png(frame), "path": None} for frame in numbered_video(7, 20, 24)]
    table = pq.read_table(folder / DATA)
    pq.write_table(table.append_column("observation.images.top", pa.array(images)), folder / DATA)
    read = Dataset.open(folder)
    assert read.views == ("top",)
    assert read.info.sizes_px["top"] == (20, 24)
    assert numbers_of(read.read_clip(1, 1, WINDOW).video_VTHWC[0]) == [4, 5]
    images[5] = {"bytes": None, "path": "elsewhere.png"}
    replace_column(folder / DATA, "observation.images.top", pa.array(images))
    with pytest.raises(ValueError, match="episode 1 frame 2: observation.images.top is not embedded in the file"):
        read.frames(1, "top", [1, 2])
    images[5] = {"bytes": b"no picture", "path": None}
    replace_column(folder / DATA, "observation.images.top", pa.array(images))
    with pytest.raises(ValueError, match="episode 1 frame 2 observation.images.top: not a readable image"):
        read.frames(1, "top", [1, 2])


def test_a_clip_of_several_tasks_has_that_of_its_first_frame(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", [episode(4, text="lift"), episode(4, text="drop")], fps_hz=10)
    replace_column(folder / EPISODES, "tasks", pa.array([["lift", "drop"], ["drop"]]))
    replace_column(folder / DATA, "task_index", pa.array([0, 0, 1, 1, 1, 1, 1, 1]))
    read = Dataset.open(folder)
    assert [read.read_clip(0, start, WINDOW).texts for start in (0, 1, 2)] == [("lift",), ("lift",), ("drop",)]


def test_several_data_files_and_an_unnamed_index(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", (3, 4, 5))
    table = pq.read_table(folder / DATA)
    pq.write_table(table.slice(0, 3), folder / DATA)
    pq.write_table(table.slice(3), folder / "data/chunk-000/file-001.parquet")
    replace_column(folder / EPISODES, "data/file_index", pa.array([0, 1, 1]))
    rows = pq.read_table(folder / EPISODES)
    pq.write_table(rows.slice(0, 1), folder / EPISODES)
    pq.write_table(rows.slice(1), folder / "meta/episodes/chunk-000/file-001.parquet")
    tasks = pq.read_table(folder / "meta/tasks.parquet").rename_columns(["task_index", "__index_level_0__"])
    pq.write_table(tasks, folder / "meta/tasks.parquet")
    read = Dataset.open(folder)
    assert [read.signals(index)["action"][0, 0] for index in (2, 0, 1)] == [2, 0, 1]
    assert read.episodes[2].texts == ("push the red cube",)
    assert list(find_faults(read)) == []


def test_text_and_depth_features_of_other_tools_are_left_alone(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", (3,))
    info = read_json(folder / "meta/info.json")
    depth = {**info["features"]["observation.images.front"], "info": {"is_depth_map": True}}
    info["features"] |= {"observation.images.depth": depth, "note": {"dtype": "string", "shape": [1], "names": None}}
    write_json(folder / "meta/info.json", info)
    read = Dataset.open(folder)
    assert read.views == ("front",)
    assert read.features == {"action": (3,)}
