"""Rollouts without a page, their files of commands, and the curve of drift."""

from pathlib import Path

import numpy as np
import pytest

from tests.controls.test_camera_path import camera_way
from tests.layouts.foreign import walk
from tests.steering.toy import EGO_FROM_CAMERA, FRAMES, ego_path, make_run
from worldtune.contract.files import read_json
from worldtune.contract.poses import planar
from worldtune.contract.steering import Axis
from worldtune.metrics.drift import drift, gradient_energy
from worldtune.metrics.pixels import PSNR_LIMIT_DB
from worldtune.stages.base import find_base
from worldtune.stages.check import check
from worldtune.stages.rollout import rollout
from worldtune.stages.steer import open_run
from worldtune.steering.commands import read_commands, write_commands
from worldtune.video.read import probe

AXES = (
    Axis(name="forward", unit="m/s", low=-1, high=2),
    Axis(name="turn_right", unit="rad/s", low=-0.5, high=0.5, rest=0.1),
)


def test_a_table_of_commands_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "way.csv"
    path.write_text("frames,forward,turn_right\n3,1.5,\n1,-1,0.25\n")
    got = read_commands(path, AXES)
    assert got["forward"].tolist() == [1.5, 1.5, 1.5, -1]
    assert got["turn_right"].tolist() == [0.1, 0.1, 0.1, 0.25], "an empty cell is rest"
    write_commands(tmp_path / "again.csv", got)
    again = read_commands(tmp_path / "again.csv", AXES)
    assert all(np.array_equal(again[name], got[name]) for name in got)
    (tmp_path / "way.json").write_text('[{"frames": 3, "forward": 1.5}, {"forward": -1, "turn_right": 0.25}]')
    same = read_commands(tmp_path / "way.json", AXES)
    assert all(np.array_equal(same[name], got[name]) for name in got)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "foward\n1\n", "no axis 'foward' in this run: did you mean 'forward'"),
        ("a.csv", "forward\n1\nx\n", "a.csv line 3: forward must be a number, got 'x'"),
        ("a.csv", "forward\nnan\n", "a.csv line 2: forward must be finite"),
        ("a.csv", "forward\n3\n", "forward is 3, the training clips show -1 to 2 m/s"),
        ("a.csv", "forward\n1,2\n", "a.csv line 2: more values than the first line has names"),
        ("a.csv", "forward\n", "holds no commands"),
        ("a.csv", "forward,frames\n1,0.5\n", "frames must be a whole number from 1"),
        ("a.json", "{}", "wanted a list of objects"),
        ("a.json", "[", "not a readable JSON file"),
        ("none.csv", None, "not a readable CSV file"),
    ],
)
def test_bad_commands_are_named(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        read_commands(tmp_path / name, AXES)


def test_drift_by_hand() -> None:
    start = np.zeros((1, 4, 4, 3), np.uint8)
    start[:, :, ::2] = 200
    same, faded = np.repeat(start[:, None], 2, 1), np.repeat(start[:, None] // 2, 2, 1)
    rows = drift(np.concatenate([same, faded, same], 1), start, 2, np.concatenate([same, same], 1))
    assert [row["chunk"] for row in rows] == [1, 2, 3]
    assert [row["sharpness"] for row in rows] == pytest.approx([1, 0.25, 1])
    assert rows[0]["psnr_db"] == pytest.approx(PSNR_LIMIT_DB)
    assert rows[1]["psnr_db"] == pytest.approx(10 * np.log10(255**2 / (100**2 / 2)))
    assert rows[2]["psnr_db"] is None, "the truth has ended"
    with pytest.raises(ValueError, match="5 frames are no whole number of chunks of 2"):
        drift(np.zeros((1, 5, 4, 4, 3), np.uint8), start, 2)


def test_gradient_energy_is_of_neighbours() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None] * 3, (1, 1, 6, 8, 3))
    assert gradient_energy(ramp) == pytest.approx(9.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("rollout"), "autoregressive", ("camera",))


def test_a_rollout_of_any_length(run: Path, tmp_path: Path) -> None:
    (tmp_path / "way.csv").write_text("frames,forward\n5,3\n")
    made = rollout(run, tmp_path / "clip.mp4", controls=tmp_path / "way.csv", chunks=20, dataset=tmp_path / "kept")
    assert made.made_VTHWC.shape == (1, 80, 16, 16, 3)
    assert probe(tmp_path / "clip.mp4").num_frames == 81
    report = read_json(tmp_path / "clip.json")
    assert [row["chunk"] for row in report["drift"]] == list(range(1, 21))
    assert {row["psnr_db"] for row in report["drift"]} == {None}
    assert report["frames_per_second"] > 0
    assert report["frames_per_processor_s"] > 0
    assert check(tmp_path / "kept", ("camera",), find_base("nano-diffusion"), {}).ok
    again = rollout(run, tmp_path / "again.mp4", controls=tmp_path / "way.csv", chunks=20)
    assert np.array_equal(again.made_VTHWC, made.made_VTHWC)
    other = rollout(run, tmp_path / "other.mp4", controls=tmp_path / "way.csv", chunks=1, seed=1)
    assert not np.array_equal(other.made_VTHWC, made.made_VTHWC[:, :4])


def test_along_a_recording_there_is_a_truth(run: Path, tmp_path: Path) -> None:
    made = rollout(run, tmp_path / "clip.mp4", controls=None)
    assert made.truth_VTHWC is not None
    assert made.truth_VTHWC.shape == made.made_VTHWC.shape == (1, 16, 16, 16, 3), "17 recorded frames, the first given"
    assert all(row["psnr_db"] > 0 for row in read_json(tmp_path / "clip.json")["drift"])
    with pytest.raises(ValueError, match="4 chunks of 4; 5 were asked for. Give --controls to go further"):
        rollout(run, tmp_path / "more.mp4", controls=None, chunks=5)


def test_mistakes_of_a_rollout(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wanted a file that ends in .mp4"):
        rollout(run, tmp_path / "clip.gif", controls=None)
    with pytest.raises(ValueError, match="has no such clip; did you mean 'data-000003-"):
        rollout(run, tmp_path / "clip.mp4", controls=None, start="data-3")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    controls = ("text", "views", "trajectory", "camera")
    return make_run(tmp_path_factory.mktemp("drive"), "autoregressive", controls, views=("front", "left"))


def way_of(path: Path, poses_T44: np.ndarray, first_s: float = 0.0) -> Path:
    """A file of these poses at 10 Hz."""
    rows = [f"{first_s + t / 10},{x},{y},{yaw}\n" for t, (x, y, yaw) in enumerate(planar(poses_T44))]
    path.write_text("time_s,x_m,y_m,yaw_rad\n" + "".join(rows))
    return path


def test_the_recorded_way_in_a_file_is_the_recording(drive: Path, tmp_path: Path) -> None:
    recorded = rollout(drive, tmp_path / "recorded.mp4", controls=None)
    turned = np.array([[0.0, -1, 0, 40], [1, 0, 0, -7], [0, 0, 1, 0], [0, 0, 0, 1]])  # another world, another clock
    way = way_of(tmp_path / "way.csv", turned @ ego_path(17, 3), first_s=5.0)
    made = rollout(drive, tmp_path / "made.mp4", controls=None, path=way)
    assert made.truth_VTHWC is None
    assert np.array_equal(made.made_VTHWC, recorded.made_VTHWC), "the start's own place and heading count"
    other = rollout(drive, tmp_path / "other.mp4", controls=None, path=way_of(tmp_path / "o.csv", ego_path(17, 1)))
    assert not np.array_equal(other.made_VTHWC, made.made_VTHWC)
    assert read_json(tmp_path / "made.json")["controls"] == str(way)


def test_a_way_faster_than_training_is_said(drive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    poses_T44 = np.tile(np.eye(4), (9, 1, 1))
    poses_T44[:, 0, 3] = 3.0 * np.arange(9)
    rollout(drive, tmp_path / "fast.mp4", controls=None, path=way_of(tmp_path / "fast.csv", poses_T44))
    assert "fast.csv: speed is 30 to 30, the training clips show 0 to 10.8 m/s" in caplog.text
    assert "turn_left" not in caplog.text


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("pushed"), "diffusion", ("action",))


def test_a_camera_run_follows_the_recorded_poses_in_a_file(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = rollout(run, tmp_path / "recorded.mp4", controls=None)
    poses_T44 = walk(1)[0] @ np.linalg.inv(EGO_FROM_CAMERA) @ ego_path(FRAMES, 3) @ EGO_FROM_CAMERA  # another world
    way = camera_way(tmp_path / "way.csv", poses_T44, np.arange(FRAMES) / 10)
    made = rollout(run, tmp_path / "made.mp4", controls=None, path=way)
    off = np.abs(made.made_VTHWC.astype(int) - recorded.made_VTHWC)
    assert off.max() <= 1, "poses are kept in float32"
    caplog.clear()
    poses_T44[:, 2, 3] += 0.2 * np.arange(FRAMES)
    rising = camera_way(tmp_path / "rising.csv", poses_T44, np.arange(FRAMES) / 10)
    other = rollout(run, tmp_path / "other.mp4", controls=None, path=rising, chunks=2)
    assert np.abs(other.made_VTHWC.astype(int) - made.made_VTHWC[:, :8]).max() > 1, "beyond rounding"
    assert "rising.csv: up is 2 to 2, the training clips do not move so: the model guesses" in caplog.text
    assert "right is" not in caplog.text


@pytest.mark.parametrize("order", [("trajectory", "camera"), ("camera", "trajectory")])
def test_a_vehicle_reads_the_way_and_its_cameras_go_along(order: tuple[str, str], tmp_path: Path) -> None:
    steered = open_run(make_run(tmp_path, "diffusion", order))
    features, commands = steered.follow(way_of(tmp_path / "way.csv", ego_path(9, 0)), steered.starts()[0])
    assert set(features) == {"ego.world_from_ego", "camera.world_from_camera"}
    assert list(commands) == ["speed", "turn_left"]


def test_mistakes_of_a_way(run: Path, drive: Path, pushed: Path, tmp_path: Path) -> None:
    way = way_of(tmp_path / "way.csv", ego_path(6, 0))
    with pytest.raises(ValueError, match=r"way.csv: no column 'z_m'; the first line must name time_s,x_m,y_m,z_m,qx"):
        rollout(run, tmp_path / "clip.mp4", controls=None, path=way)
    with pytest.raises(ValueError, match="wanted a run with the control camera or trajectory, this one has action"):
        rollout(pushed, tmp_path / "clip.mp4", controls=None, path=way)
    with pytest.raises(ValueError, match="--controls and --path: give one of them"):
        rollout(drive, tmp_path / "clip.mp4", controls=way, path=way)
    with pytest.raises(ValueError, match="the way goes on for 5 frames, 1 chunks of 4; 2 were asked for"):
        rollout(drive, tmp_path / "clip.mp4", controls=None, path=way, chunks=2)
    way.write_text("time_s,x_m,y_m\n")
    words = r"way.csv: no column 'yaw_rad'.* In this run the way is that of trajectory, and camera goes along"
    with pytest.raises(ValueError, match=words):
        rollout(drive, tmp_path / "clip.mp4", controls=None, path=way)
    assert [path.name for path in tmp_path.iterdir()] == ["way.csv"]
