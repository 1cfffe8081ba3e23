"""The check stage: every fault with file, episode, field and rule; every dropped clip with its reason."""

import dataclasses
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.data.recordings import dataset, episode
from tests.data.toy_base import toy_base
from worldtune.contract.nouns import Field
from worldtune.dataset import Window, write_dataset
from worldtune.report.tables import counted
from worldtune.stages import check
from worldtune.stages.check import CheckReport, frame_rule, inspect

WINDOW = Window(num_frames=5, height_px=16, width_px=16, fps_hz=10)
DATA = "data/chunk-000/file-000.parquet"


def report_of(folder: Path, *controls: str, window: Window = WINDOW) -> CheckReport:
    return inspect(folder, controls, window, toy_base(folder.parent / "base").codec())


def shown(report: CheckReport) -> str:
    console = Console(file=StringIO(), width=200)
    report.show(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_good_dataset(tmp_path: Path) -> None:
    report = report_of(dataset(tmp_path / "d"), "text")
    assert report.ok
    assert report.num_clips == (("train", 4), ("val", 4))
    assert "clips: 4 train, 4 val; no fault" in shown(report)
    assert "no val split in meta/info.json: the last tenth is val" in shown(report)


def test_dropped_episodes_are_counted_and_explained(tmp_path: Path) -> None:
    report = report_of(dataset(tmp_path / "d", (12, 2, 4)), "text")
    assert report.ok
    text = shown(report)
    assert "2 episodes without a clip" in text
    assert "episode 1 has 2 frames at 10 Hz, a clip of 5 frames at 10 Hz spans 5" in text
    assert "2 of 3 episodes give no clip; the shortest has 2 frames, too few for any clip" in text


@pytest.mark.parametrize(
    ("lengths", "words"), [((12,), "split val: nothing is held out"), ((2, 12), "split train: such a dataset can be")]
)
def test_a_split_without_clips_is_noted(tmp_path: Path, lengths: tuple[int, ...], words: str) -> None:
    assert f"no clip is in the {words}" in shown(report_of(dataset(tmp_path / "d", lengths), "text"))


def test_no_clip_left_is_a_fault(tmp_path: Path) -> None:
    report = report_of(dataset(tmp_path / "d", (3, 2)), "text")
    assert not report.ok
    assert "no clip is left: has 3 frames at 10 Hz, a clip of 5 frames at 10 Hz spans 5" in shown(report)


@pytest.mark.parametrize(
    ("num_frames", "verdict"), [(17, "17 fits"), (16, "the nearest are 13 and 17"), (2, "the nearest are 1 and 5")]
)
def test_frame_rule(num_frames: int, verdict: str) -> None:
    assert frame_rule(4, num_frames).endswith(verdict)
    assert "a clip has 1 + 4 k frames" in frame_rule(4, num_frames)


def test_illegal_number_of_frames_is_a_fault(tmp_path: Path) -> None:
    report = report_of(dataset(tmp_path / "d"), "text", window=Window(num_frames=8, height_px=16, width_px=16))
    assert "num_frames must be 1 + 4 k for this codec, got 8; use 5 or 9" in str(report.faults[0])


def test_too_fast_window_is_a_fault(tmp_path: Path) -> None:
    window = Window(num_frames=5, height_px=16, width_px=16, fps_hz=24)
    report = report_of(dataset(tmp_path / "d"), "text", window=window)
    assert "window: fps_hz is 24 but the dataset has 10" in str(report.faults[0])


def test_resampling_is_noted_with_its_effect_on_actions(tmp_path: Path) -> None:
    window = Window(num_frames=5, height_px=16, width_px=16, fps_hz=5)
    text = shown(report_of(dataset(tmp_path / "d"), "text", window=window))
    assert "clips have 5 Hz, the dataset 10: the nearest frames are taken" in text
    assert "relative ones are not added up over skipped frames" in text


def test_nan_is_a_fault(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    table = pq.read_table(folder / DATA)
    actions = np.zeros((41, 3), np.float32)
    actions[0, 0] = np.nan
    pq.write_table(table.set_column(0, "action", pa.array(actions.tolist())), folder / DATA)
    report = report_of(folder, "text")
    assert not report.ok
    assert "file-000.parquet: episode 0: action: 1 values are missing, NaN or infinite" in shown(report)


def test_no_dataset_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    report = report_of(tmp_path / "d", "text")
    assert str(report.faults[0]).count(str(tmp_path / "d")) == 1
    assert "not a LeRobot v3 dataset" in shown(report)


def test_a_fault_names_the_folder_once(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    (folder / "meta/tasks.parquet").unlink()
    report = report_of(folder, "text")
    assert str(report.faults[0]).startswith(f"{folder / 'meta/tasks.parquet'}: ")
    assert str(report.faults[0]).count(str(folder)) == 1


@pytest.mark.parametrize(
    ("name", "field", "words"),
    [
        ("action", Field(shape=("D",), unit="1"), None),
        ("action", Field(shape=(3,), unit="1"), None),
        ("action", Field(shape=(7,), unit="1"), r"needs the shape [7] per frame, got [3]"),
        ("action", Field(shape=("D", 2), unit="1"), "needs the shape ['D', 2] per frame, got [3]"),
        ("action", Field(shape=(3,), unit="1", per_view=True), "needs one value per camera"),
        ("camera.intrinsics", Field(shape=(4,), unit="px", per_view=True), None),
        (
            "ego.world_from_ego",
            Field(shape=(4, 4), unit="m"),
            "needs this feature (m); the dataset has action, camera.",
        ),
        ("ego.world_from_ego", Field(shape=(4, 4), unit="m", optional=True), None),
    ],
)
def test_features_that_controls_need(tmp_path: Path, name: str, field: Field, words: str | None) -> None:
    recorded = episode(6, **{"camera.intrinsics": np.ones((1, 6, 4), np.float32)})
    folder = write_dataset(tmp_path / "d", [recorded], fps_hz=10)
    fault = check._field_fault(check.Dataset.open(folder), "some", name, field)
    assert (fault is None) == (words is None)
    if words is not None:
        assert words in str(fault)


def test_short_recordings_are_told_the_window_that_keeps_them(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", [episode(9), episode(9)], fps_hz=10)
    window = dataclasses.replace(WINDOW, num_frames=9, fps_hz=5)
    said = "2 of 2 episodes give no clip; num_frames 5 keeps all, num_frames 9 with fps_hz 10 keeps all"
    assert said in shown(report_of(folder, window=window))


def test_episodes_without_caption_are_noted(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", [episode(6, text=""), episode(6)], fps_hz=10)
    report = report_of(folder, "text")
    assert report.ok
    assert "1 of 2 episodes have no caption; they train without text" in shown(report)


def test_counts_are_words() -> None:
    assert counted(1, "fault") == "1 fault"
    assert counted(2, "episode", " without a clip") == "2 episodes without a clip"
