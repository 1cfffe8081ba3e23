"""Layouts of several cameras: cosmos-multiview, surround-tiles, nuscenes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.recordings import numbered_video, numbers_of
from tests.layouts.foreign import LOOKS_ALONG_X, change_json, images, pose, quaternion, turn_z, write_json
from worldtune.dataset import Dataset
from worldtune.dataset.faults import find_faults
from worldtune.layouts.surround_tiles import VIEWS
from worldtune.stages.convert import convert
from worldtune.video.write import write_video

CAMERAS = ("pinhole_front_left", "pinhole_front", "pinhole_side_right")


def multiview(source: Path) -> Path:
    for number, camera in enumerate(CAMERAS):
        (source / "metas" / camera).mkdir(parents=True)
        for stem, length in (("a", 6), ("b", 5)):
            write_video(source / "videos" / camera / f"{stem}.mp4", numbered_video(length, first=5 * number), 10.0)
            (source / "metas" / camera / f"{stem}.txt").write_text(f"{stem} seen by {camera}")
    return source


def test_cosmos_multiview(tmp_path: Path) -> None:
    read = Dataset.open(convert(multiview(tmp_path / "source"), tmp_path / "d", "cosmos-multiview"))
    assert list(find_faults(read)) == []
    assert read.views == ("pinhole_front", "pinhole_front_left", "pinhole_side_right")
    assert [e.length for e in read.episodes] == [6, 5]
    assert read.episodes[1].texts == tuple(f"b seen by {view}" for view in read.views)
    assert [numbers_of(read.frames(1, view, [0, 4])) for view in read.views] == [[5, 9], [0, 4], [10, 14]]


def test_cosmos_multiview_of_other_rates_and_lengths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = multiview(tmp_path / "source")
    write_video(source / "videos/pinhole_front/a.mp4", numbered_video(8), 20.0)
    with caplog.at_level("WARNING"):
        read = Dataset.open(convert(source, tmp_path / "d", "cosmos-multiview"))
    assert "1 of 6 videos are faster than the slowest and are resampled to its 10 Hz" in caplog.text
    assert read.episodes[0].length == 4
    assert numbers_of(read.frames(0, "pinhole_front", range(4))) == [0, 2, 4, 6]
    assert numbers_of(read.frames(0, "pinhole_side_right", range(4))) == [10, 11, 12, 13]


def test_bad_cosmos_multiview(tmp_path: Path) -> None:
    source = multiview(tmp_path / "source")
    (source / "metas/pinhole_front/b.txt").unlink()
    with pytest.raises(ValueError, match=r"metas/pinhole_front/b\.txt: no caption for videos/pinhole_front/b\.mp4"):
        convert(source, tmp_path / "d", "cosmos-multiview")
    (source / "metas/b.txt").write_text("one for all")
    assert Dataset.open(convert(source, tmp_path / "d", "cosmos-multiview")).episodes[1].texts[0] == "one for all"
    (source / "videos/pinhole_side_right/b.mp4").unlink()
    with pytest.raises(ValueError, match=r"pinhole_side_right/b\.mp4: no such video; the other cameras have b\.mp4"):
        convert(source, tmp_path / "e", "cosmos-multiview")
    with pytest.raises(ValueError, match="leave the option out"):
        convert(source, tmp_path / "e", "cosmos-multiview", fps_hz=5)
    with pytest.raises(ValueError, match="videos: no mp4 files"):
        convert(source / "metas", tmp_path / "e", "cosmos-multiview")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "source"]


def ego_csv(path: Path, seconds: float) -> None:
    """A vehicle that drives along y at 10 m/s, looking along y; a row per half second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times_s = np.arange(0, seconds + 0.5, 0.5)
    rows = [f"{time_s},3,{10 * time_s},{np.pi / 2}\n" for time_s in times_s]
    path.write_text("time_s,x_m,y_m,yaw_rad\n" + "".join(rows))


@pytest.mark.parametrize("layout", ["cosmos-multiview", "surround-tiles"])
def test_ego_paths_beside_the_videos(layout: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if layout == "cosmos-multiview":
        multiview(source)
    else:
        for stem in ("a", "b"):
            write_video(source / f"{stem}.mp4", numbered_video(30), 10.0)
    convert(source, tmp_path / "plain", layout, allow_missing_captions=True)
    assert "ego.world_from_ego" not in Dataset.open(tmp_path / "plain").features
    ego_csv(source / "ego/a.csv", 1.0)
    with pytest.raises(ValueError, match=r"ego/b\.csv: no such ego path, though a has one"):
        convert(source, tmp_path / "d", layout, allow_missing_captions=True)
    ego_csv(source / "ego/b.csv", 0.0)
    with pytest.raises(ValueError, match=r"ego/b\.csv: a path needs at least two rows, got 1"):
        convert(source, tmp_path / "d", layout, allow_missing_captions=True)
    (source / "ego/b.csv").write_text("time_s,x_m,y_m,yaw_rad\n0,0,0,0\n0.2,2,0,0\n")
    with pytest.raises(ValueError, match=r"ego/b\.csv: the path covers 0\.\.0\.2 s, but 0\.3 s was asked for"):
        convert(source, tmp_path / "d", layout, allow_missing_captions=True)
    assert not (tmp_path / "d").exists()
    ego_csv(source / "ego/b.csv", 1.0)
    read = Dataset.open(convert(source, tmp_path / "d", layout, allow_missing_captions=True))
    assert list(find_faults(read)) == []
    poses_T44 = read.signals(1)["ego.world_from_ego"]
    np.testing.assert_allclose(poses_T44[3], pose(turn_z(np.pi / 2), [3, 3, 0]), atol=1e-5)


def test_surround_tiles(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_video(source / "snow.mp4", numbered_video(18), 30.0)
    (source / "metas/left").mkdir(parents=True)
    (source / "metas/snow.txt").write_text("snow")
    (source / "metas/left/snow.txt").write_text("a fence in snow")
    read = Dataset.open(convert(source, tmp_path / "d", "surround-tiles", fps_hz=10))
    assert list(find_faults(read)) == []
    assert (read.views, read.fps_hz) == (VIEWS, 10)
    assert [numbers_of(read.frames(0, view, range(3))) for view in VIEWS[:2]] == [[0, 1, 2], [3, 4, 5]]
    assert numbers_of(read.frames(0, "rear_right", range(3))) == [15, 16, 17]
    assert read.episodes[0].texts[:3] == ("snow", "a fence in snow", "snow")


def test_surround_tiles_of_other_cameras(tmp_path: Path) -> None:
    write_video(tmp_path / "source/videos/snow.mp4", numbered_video(8), 10.0)
    with pytest.raises(ValueError, match=r"snow\.mp4: has 8 frames, wanted a multiple of 6 \(front, left"):
        convert(tmp_path / "source", tmp_path / "d", "surround-tiles")
    (tmp_path / "source/views.txt").write_text("near\nnear\n")
    with pytest.raises(ValueError, match=r"views\.txt: names near, near; wanted two or more names, all different"):
        convert(tmp_path / "source", tmp_path / "d", "surround-tiles")
    (tmp_path / "source/views.txt").write_text("near\nfar\n")
    with pytest.raises(ValueError, match=r"metas/near/snow\.txt: no caption for snow\.mp4 \(near\)"):
        convert(tmp_path / "source", tmp_path / "d", "surround-tiles")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    read = Dataset.open(convert(tmp_path / "source", tmp_path / "d", "surround-tiles", allow_missing_captions=True))
    assert (read.views, read.episodes[0].length) == (("near", "far"), 4)


FORWARD_FROM_CAMERA = pose(LOOKS_ALONG_X, [1.5, 0.0, 1.6])
LEFT_FROM_CAMERA = pose(turn_z(np.pi / 2) @ LOOKS_ALONG_X, [0.5, 0.4, 1.6])


def ego(time_s: float) -> np.ndarray:
    """world_from_ego of a drive to the north at 10 m/s, x forward: a quarter turn to the left of world x."""
    return pose(turn_z(np.pi / 2), [600.0, 1000.0 + 10 * time_s, 0.0])


def nuscenes(source: Path) -> Path:
    """4 keyframes at 2 Hz and a sweep after each; the left camera fires 40 ms after the front one. A lidar too."""

    def record(token: str, matrix: np.ndarray, **more: Any) -> dict[str, Any]:
        return {"token": token, "rotation": quaternion(matrix[:3, :3]), "translation": matrix[:3, 3].tolist(), **more}

    lens = [[40.0, 0, 23.0], [0, 41.0, 15.0], [0, 0, 1.0]]
    rig = {"CAM_FRONT_LEFT": (LEFT_FROM_CAMERA, 0.04, 10), "CAM_FRONT": (FORWARD_FROM_CAMERA, 0.0, 0)}
    calibrated = [
        record(f"lens {name}", matrix, sensor_token=name, camera_intrinsic=lens) for name, (matrix, *_) in rig.items()
    ]
    calibrated.append(record("lens LIDAR", np.eye(4), sensor_token="LIDAR", camera_intrinsic=[]))
    sensors = [{"token": name, "channel": name, "modality": "camera"} for name in rig]
    sensors.append({"token": "LIDAR", "channel": "LIDAR", "modality": "lidar"})
    data, poses = [], []
    for name, (_, late_s, first) in rig.items():
        for number in range(8):
            time_s = 100 + 0.25 * number + late_s
            folder = "sweeps" if number % 2 else "samples"
            file = f"{folder}/{name}/{number}.png"
            images(source / f"{folder}/{name}", [f"{number}.png"], first=first + number)
            poses.append(record(f"ego {name} {number}", ego(time_s)))
            row = {"token": f"{name} {number}", "sample_token": f"sample {number // 2}", "filename": file}
            row |= {"ego_pose_token": f"ego {name} {number}", "calibrated_sensor_token": f"lens {name}"}
            data.append({**row, "timestamp": round(time_s * 1e6), "is_key_frame": number % 2 == 0})
    data.append({**data[0], "token": "sweep", "calibrated_sensor_token": "lens LIDAR", "filename": "none.bin"})
    tables = {
        "scene": [{"token": "s", "name": "scene-0001", "description": "Night, rain"}],
        "sample": [{"token": f"sample {number}", "scene_token": "s"} for number in range(4)],
        "sample_data": data[::-1],
        "calibrated_sensor": calibrated,
        "sensor": sensors,
        "ego_pose": poses,
    }
    for name, rows in tables.items():
        write_json(source / "v1.0-mini" / f"{name}.json", rows)
    return source


def test_nuscenes_with_sweeps(tmp_path: Path) -> None:
    read = Dataset.open(convert(nuscenes(tmp_path / "source"), tmp_path / "d", "nuscenes"))
    assert list(find_faults(read)) == []
    assert (read.views, read.fps_hz) == (("front", "front_left"), 4)
    assert read.episodes[0].texts == ("Night, rain", "Night, rain")
    assert numbers_of(read.frames(0, "front_left", range(8))) == list(range(10, 18))
    signals = read.signals(0)
    np.testing.assert_allclose(signals["camera.intrinsics"][1, 3], [40, 41, 23, 15])
    times_s = 100 + 0.25 * np.arange(8)
    np.testing.assert_allclose(signals["ego.world_from_ego"], [ego(t) for t in times_s], atol=2e-4)
    front, left = signals["camera.world_from_camera"]
    np.testing.assert_allclose(front, [ego(t) @ FORWARD_FROM_CAMERA for t in times_s], atol=2e-4)
    np.testing.assert_allclose(left, [ego(t + 0.04) @ LEFT_FROM_CAMERA for t in times_s], atol=2e-4)
    # The car heads north (+y), so the front camera looks along +y and the left one to the west (-x).
    np.testing.assert_allclose([front[0, :3, 2], left[0, :3, 2]], [[0, 1, 0], [-1, 0, 0]], atol=1e-6)


def test_nuscenes_keyframes_when_there_are_no_sweeps(tmp_path: Path) -> None:
    source = nuscenes(tmp_path / "source")
    (source / "sweeps").rename(tmp_path / "elsewhere")
    read = Dataset.open(convert(source, tmp_path / "d", "nuscenes"))
    assert (read.fps_hz, read.episodes[0].length) == (2, 4)
    assert numbers_of(read.frames(0, "front", range(4))) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("scene", lambda v: v[0].pop("name"), r"scene\.json: record s: no entry 'name'"),
        ("scene", lambda v: v[0].update(description=""), r"scene\.json: scene-0001: .* is empty; .*--allow-missing-c"),
        (
            "scene",
            lambda v: v[0].update(description="x" * 4001),
            r"scene\.json: scene-0001: description: the caption has",
        ),
        (
            "sample_data",
            lambda v: v[1].pop("ego_pose_token"),
            r"sample_data\.json: record .*: no entry 'ego_pose_token'",
        ),
        (
            "sample_data",
            lambda v: v[1].update(filename="x.jpg"),
            r"sample_data\.json: record .*: no such image as .*x\.jpg",
        ),
        ("ego_pose", lambda v: v.pop(0), r"ego_pose_token 'ego CAM_FRONT_LEFT 0' is not in ego_pose\.json"),
        (
            "ego_pose",
            lambda v: v[0].update(rotation=[0, 0, 0, 0]),
            r"ego_pose\.json: .*rotation has a quaternion of length 0",
        ),
        ("calibrated_sensor", lambda v: v[0].update(camera_intrinsic=[]), r"camera_intrinsic has shape \[0\], wanted"),
        (
            "sensor",
            lambda v: [r.update(modality="radar") for r in v],
            r"sample_data\.json: no camera frames of scene-0001",
        ),
    ],
)
def test_bad_nuscenes(tmp_path: Path, table: str, change: Any, words: str) -> None:
    source = nuscenes(tmp_path / "source")
    change_json(source / f"v1.0-mini/{table}.json", change)
    with pytest.raises(ValueError, match=words):
        convert(source, tmp_path / "d", "nuscenes")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_nuscenes_without_tables(tmp_path: Path) -> None:
    source = nuscenes(tmp_path / "source")
    (source / "v1.0-mini/ego_pose.json").unlink()
    with pytest.raises(ValueError, match=r"v1\.0-mini/ego_pose\.json: no such file"):
        convert(source, tmp_path / "d", "nuscenes")
    with pytest.raises(ValueError, match=r"wanted one folder of tables v1\.0-\*, got none"):
        convert(source / "samples", tmp_path / "d", "nuscenes")
