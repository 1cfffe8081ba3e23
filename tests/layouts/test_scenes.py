"""Layouts of one moving camera: transforms, colmap, realestate10k. Values come back in our conventions."""

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.recordings import numbered_video, numbers_of
from tests.layouts.foreign import HEIGHT_PX, WIDTH_PX, change_json, images, quaternion, walk, write_json
from worldtune.dataset import Dataset
from worldtune.dataset.entries import natural_order
from worldtune.dataset.faults import find_faults
from worldtune.layouts.colmap import MODELS
from worldtune.stages.convert import convert
from worldtune.video.write import write_video

NAMES = [f"frame_{index:03d}.png" for index in range(5)]
COUNTED = ["2.png", "9.png", "10.png", "11.png", "100.png"]
"""In the order of time, which is not that of the alphabet."""
LENS = [40.0, 41.0, 23.0, 15.0]


def require_walk(folder: Path, num_frames: int = 5, lens: list[float] | None = None) -> Dataset:
    """The dataset holds the walk in order of time, with the lens, and without faults."""
    read = Dataset.open(folder)
    assert list(find_faults(read)) == []
    signals = read.signals(0)
    np.testing.assert_allclose(signals["camera.world_from_camera"][0], walk(num_frames), atol=1e-5)
    np.testing.assert_allclose(signals["camera.intrinsics"][0], [lens or LENS] * num_frames, rtol=1e-5)
    assert numbers_of(read.frames(0, "main", range(num_frames))) == list(range(num_frames))
    return read


def transforms_scene(folder: Path, names: list[str] = NAMES) -> Path:
    images(folder / "images", names)
    opengl = walk(5).copy()
    opengl[:, :3, 1] *= -1  # up instead of down
    opengl[:, :3, 2] *= -1  # backward instead of forward
    frames = [{"file_path": f"images/{n}", "transform_matrix": m.tolist()} for n, m in zip(names, opengl, strict=True)]
    lens = dict(zip(("fl_x", "fl_y", "cx", "cy"), LENS, strict=True))
    write_json(folder / "transforms.json", {**lens, "w": WIDTH_PX, "h": HEIGHT_PX, "k1": 0.1, "frames": frames[::-1]})
    (folder / "caption.txt").write_text("a kitchen\n")
    return folder


def test_transforms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = transforms_scene(tmp_path / "source")
    with caplog.at_level(logging.WARNING):
        read = require_walk(convert(source, tmp_path / "d", "transforms", fps_hz=7))
    assert (read.fps_hz, read.episodes[0].texts) == (7, ("a kitchen",))
    assert "1 of 1 scenes have lens distortion, which is dropped" in caplog.text


def test_names_that_count_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    scene = transforms_scene(tmp_path / "transforms", COUNTED)
    require_walk(convert(scene, tmp_path / "a", "transforms", fps_hz=7))
    require_walk(convert(colmap_scene(tmp_path / "colmap", "bin", names=COUNTED), tmp_path / "b", "colmap", fps_hz=7))
    names = ["b1.png", "a10b1.png", "a9b10.png", "a9b2.png", "a09b2.png", "1", ""]
    assert sorted(names, key=natural_order) == ["", "1", "a09b2.png", "a9b2.png", "a9b10.png", "a10b1.png", "b1.png"]


def test_transforms_of_several_scenes_with_smaller_copies_and_field_of_view(tmp_path: Path) -> None:
    transforms_scene(tmp_path / "source/a")
    path = transforms_scene(tmp_path / "source/b/nerf") / "transforms.json"
    (tmp_path / "source/b/nerf/images").rename(tmp_path / "source/b/nerf/images_2")

    def enlarge(value: dict[str, Any]) -> None:
        for name in ("fl_x", "fl_y", "cx", "cy"):
            del value[name]
        value |= {"w": 2 * WIDTH_PX, "h": 2 * HEIGHT_PX, "camera_angle_x": 2 * np.arctan(WIDTH_PX / 80)}

    change_json(path, enlarge)
    read = Dataset.open(convert(tmp_path / "source", tmp_path / "d", "transforms", fps_hz=7))
    assert [e.facts["name"] for e in read.episodes] == ["a", "b/nerf"]
    np.testing.assert_allclose(read.signals(1)["camera.intrinsics"][0, 0], [40, 40, 24, 16], rtol=1e-5)


def test_lenses_follow_frames_that_are_cut_to_the_most_frequent_size(tmp_path: Path) -> None:
    for name in "ab":
        transforms_scene(tmp_path / f"source/{name}")
    path = transforms_scene(tmp_path / "source/c") / "transforms.json"
    images(tmp_path / "source/c/images", NAMES, height_px=64, width_px=128)
    change_json(path, lambda value: value.update(w=128, h=64, cx=64, cy=32))
    read = Dataset.open(convert(tmp_path / "source", tmp_path / "d", "transforms", fps_hz=7))
    np.testing.assert_allclose(read.signals(2)["camera.intrinsics"][0, 0], [20, 20.5, 24, 16], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("frames"), r"transforms\.json: no entry 'frames'"),
        (lambda v: v.pop("fl_x"), r"transforms\.json: no entry 'fl_x'"),
        (lambda v: v["frames"][1].pop("transform_matrix"), r"frames\[1\]: no entry 'transform_matrix'"),
        (
            lambda v: v["frames"][0].update(transform_matrix=[[1, 2]]),
            r"frames\[0\]: transform_matrix has shape \[1, 2\]",
        ),
        (lambda v: v["frames"][0].update(file_path="images/x.png"), r"file_path 'images/x\.png': no such image"),
        (lambda v: v["frames"][4]["transform_matrix"][0].__setitem__(0, 9.0), "frame 0 is no rotation"),
        (lambda v: v.update(camera_model="OPENCV_FISHEYE"), "camera_model is 'OPENCV_FISHEYE'"),
        (lambda v: v.update(w=10), "is of frames of 10x32 px, the images have 48x32 px"),
    ],
)
def test_bad_transforms(tmp_path: Path, change: Any, words: str) -> None:
    source = transforms_scene(tmp_path / "source")
    change_json(source / "transforms.json", change)
    with pytest.raises(ValueError, match=words):
        convert(source, tmp_path / "d", "transforms", fps_hz=7)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_rate_and_caption_are_asked_for(tmp_path: Path) -> None:
    source = transforms_scene(tmp_path / "source")
    with pytest.raises(ValueError, match="this layout tells no frame rate; give it with --fps-hz"):
        convert(source, tmp_path / "d", "transforms")
    (source / "caption.txt").unlink()
    with pytest.raises(ValueError, match=r"caption\.txt: no caption for source; write one, or give --allow-missing"):
        convert(source, tmp_path / "d", "transforms", fps_hz=7)
    convert(source, tmp_path / "d", "transforms", fps_hz=7, allow_missing_captions=True)


def colmap_scene(folder: Path, kind: str, model: str = "PINHOLE", names: list[str] = NAMES) -> Path:
    images(folder / "images", names)
    (folder / "sparse/0").mkdir(parents=True)
    params = {"PINHOLE": LENS, "SIMPLE_RADIAL": [40.0, 23.0, 15.0, 0.1], "FOV": [*LENS, 0.1]}[model]
    camera_from_world = np.linalg.inv(walk(5))
    rows = [(7 - k, quaternion(m[:3, :3]), m[:3, 3].tolist(), names[k]) for k, m in enumerate(camera_from_world)][::-1]
    (folder / "caption.txt").write_text("a garden")
    if kind == "txt":
        line = " ".join(map(str, ["3", model, WIDTH_PX, HEIGHT_PX, *params]))
        (folder / "sparse/0/cameras.txt").write_text(f"# Camera list\n{line}\n")
        texts = [f"{i} {' '.join(map(str, [*q, *t]))} 3 {name}\n1.5 2.5 -1\n" for i, q, t, name in rows[:-1]]
        texts += [f"{i} {' '.join(map(str, [*q, *t]))} 3 {name}\n\n" for i, q, t, name in rows[-1:]]
        (folder / "sparse/0/images.txt").write_text("# Image list\n#\n" + "".join(texts))
        return folder
    number = [name for name, _ in MODELS].index(model)
    data = struct.pack("<QiiQQ", 1, 3, number, WIDTH_PX, HEIGHT_PX) + struct.pack(f"<{len(params)}d", *params)
    (folder / "sparse/0/cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(rows))
    for i, q, t, name in rows:
        data += struct.pack("<i7di", i, *q, *t, 3) + name.encode() + b"\0" + struct.pack("<Qddq", 1, 1.5, 2.5, -1)
    (folder / "sparse/0/images.bin").write_bytes(data)
    return folder


@pytest.mark.parametrize("kind", ["txt", "bin"])
def test_colmap(tmp_path: Path, kind: str) -> None:
    source = colmap_scene(tmp_path / "source", kind)
    read = require_walk(convert(source, tmp_path / "d", "colmap", fps_hz=4))
    assert (read.fps_hz, read.episodes[0].texts) == (4, ("a garden",))


def test_colmap_of_several_scenes_with_distortion(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    colmap_scene(tmp_path / "source/a", "txt", "SIMPLE_RADIAL")
    colmap_scene(tmp_path / "source/b", "bin", "SIMPLE_RADIAL")
    with caplog.at_level(logging.WARNING):
        read = require_walk(convert(tmp_path / "source", tmp_path / "d", "colmap", fps_hz=4), lens=[40, 40, 23, 15])
    assert len(read.episodes) == 2
    assert "2 of 2 scenes have lens distortion" in caplog.text


@pytest.mark.parametrize(
    ("kind", "model", "file", "change", "words"),
    [
        ("txt", "PINHOLE", "cameras.txt", lambda b: b"3 PINHOLE 48\n", "line 1 is '3 PINHOLE 48', wanted CAMERA_ID"),
        (
            "txt",
            "PINHOLE",
            "cameras.txt",
            lambda b: b.replace(b"3 PIN", b"4 PIN"),
            "has camera 3, .*cameras.txt does not",
        ),
        ("txt", "PINHOLE", "images.txt", lambda b: b.replace(b" 3 ", b" "), "line 3 is .*wanted IMAGE_ID QW"),
        ("txt", "PINHOLE", "images.txt", lambda b: b.replace(b"_004", b"_009"), r"frame_009\.png: no such image"),
        ("txt", "PINHOLE", "images.txt", lambda b: b"", "images.txt: no images"),
        ("bin", "PINHOLE", "images.bin", lambda b: b[:-70], "images.bin: the file is cut off at byte"),
        ("bin", "FOV", "cameras.bin", lambda b: b, "camera 3 is FOV; undistort with COLMAP first"),
    ],
)
def test_bad_colmap(tmp_path: Path, kind: str, model: str, file: str, change: Any, words: str) -> None:
    source = colmap_scene(tmp_path / "source", kind, model)
    path = source / "sparse/0" / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=words):
        convert(source, tmp_path / "d", "colmap", fps_hz=4)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_colmap_without_a_model(tmp_path: Path) -> None:
    source = colmap_scene(tmp_path / "source", "bin")
    (source / "sparse/0/images.bin").unlink()
    with pytest.raises(ValueError, match=r"images\.bin: no such file beside cameras\.bin"):
        convert(source, tmp_path / "d", "colmap", fps_hz=4)
    (source / "sparse/0/cameras.bin").unlink()
    with pytest.raises(ValueError, match="source: no COLMAP model"):
        convert(source, tmp_path / "d", "colmap", fps_hz=4)


def realestate_clip(folder: Path, name: str, times_us: list[int]) -> None:
    camera_from_world = np.linalg.inv(walk(len(times_us)))[:, :3]
    shares = [LENS[0] / WIDTH_PX, LENS[1] / HEIGHT_PX, LENS[2] / WIDTH_PX, LENS[3] / HEIGHT_PX]
    rows = [
        " ".join(map(str, [time_us, *shares, 0, 0, *matrix.reshape(-1)]))
        for time_us, matrix in zip(times_us, camera_from_world, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join(["https://www.youtube.com/watch?v=tube", *rows]) + "\n")


TIMES_US = [400_000 + 100_000 * k for k in range(5)]


def test_realestate10k_with_images_and_splits(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for split, name in (("train", "aa"), ("test", "bb")):
        realestate_clip(source / split, name, TIMES_US)
        images(source / "frames" / split / name, [f"{time_us}.png" for time_us in TIMES_US])
    read = require_walk(convert(source, tmp_path / "d", "realestate10k", allow_missing_captions=True))
    assert read.fps_hz == 10
    assert [e.split for e in read.episodes] == ["train", "test"]


@pytest.mark.parametrize(("video", "first"), [("aa", 0), ("tube", 4)])
def test_realestate10k_with_a_video(tmp_path: Path, video: str, first: int) -> None:
    """A video of the clip starts with the clip; that of the address is the whole recording, which starts at 0 s."""
    source = tmp_path / "source"
    realestate_clip(source, "aa", TIMES_US)
    frames = numbered_video(first + 6, HEIGHT_PX, WIDTH_PX)
    frames = np.concatenate([frames[6 : 6 + first], frames[:6]])
    write_video(source / f"videos/{video}.mp4", frames, 10.0)
    (source / "metas").mkdir()
    (source / "metas/aa.txt").write_text("a house")
    read = require_walk(convert(source, tmp_path / "d", "realestate10k"))
    assert read.episodes[0].texts == ("a house",)


def test_realestate10k_of_uneven_times(tmp_path: Path) -> None:
    source = tmp_path / "source"
    times_us = [0, 100_000, 200_000, 420_000, 500_000, 600_000]
    realestate_clip(source, "aa", times_us)
    images(source / "aa", [f"{time_us}.png" for time_us in times_us])
    read = Dataset.open(convert(source, tmp_path / "d", "realestate10k", allow_missing_captions=True))
    assert numbers_of(read.frames(0, "main", range(7))) == [0, 1, 2, 2, 3, 4, 5]
    np.testing.assert_allclose(
        read.signals(0)["camera.world_from_camera"][0], walk(6)[[0, 1, 2, 2, 3, 4, 5]], atol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("500000 ", "", 1), r"aa\.txt: line 3 has shape \[18\], wanted a list of numbers"),
        (lambda t: t.replace("500000", "400000", 1), r"aa\.txt: line 3: the timestamp does not ascend"),
        (lambda t: t.replace("500000", "nan", 1), r"line 3 has a value that is not finite"),
        (lambda t: t.splitlines()[0], r"aa\.txt: has 0 frames"),
        (lambda t: t.replace("800000", "800001", 1), r"aa: no image 800001\.png"),
    ],
)
def test_bad_realestate10k(tmp_path: Path, change: Any, words: str) -> None:
    source = tmp_path / "source"
    realestate_clip(source, "aa", TIMES_US)
    images(source / "aa", [f"{time_us}.png" for time_us in TIMES_US])
    text = (source / "aa.txt").read_text()
    (source / "aa.txt").write_text(change(text))
    with pytest.raises(ValueError, match=words):
        convert(source, tmp_path / "d", "realestate10k", allow_missing_captions=True)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_realestate10k_without_frames_or_with_a_short_video(tmp_path: Path) -> None:
    source = tmp_path / "source"
    realestate_clip(source, "aa", TIMES_US)
    with pytest.raises(ValueError, match=r"aa\.txt: no frames: neither .*frames/aa nor .*aa\.mp4 nor .*tube\.mp4"):
        convert(source, tmp_path / "d", "realestate10k", allow_missing_captions=True)
    write_video(source / "videos/tube.mp4", numbered_video(7), 10.0)
    with pytest.raises(ValueError, match=r"tube\.mp4: no frame at 0\.800 s, which aa\.txt names in line 6"):
        convert(source, tmp_path / "d", "realestate10k", allow_missing_captions=True)
