"""Layout "transforms": scenes with a transforms.json and image files, as nerfstudio, instant-ngp and DL3DV have them.

Shape legend: T frames.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.contract.files import read_json
from worldtune.contract.poses import opencv_from_opengl
from worldtune.dataset import Source
from worldtune.dataset.entries import caption, entry, natural_order, numbers, require_rate, warn_some
from worldtune.dataset.scenes import Scene, scaled_lens, scene_episodes
from worldtune.video.footage import IMAGE_SUFFIXES, shared_size_px

FILE = "transforms.json"
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
_SMALLER_FOLDERS = ("images_2", "images_4", "images_8")


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """A scene for each transforms.json in SOURCE or below it; its frames in the order of file names, 2 before 10.

    fps_hz: needed, the layout tells none. ValueError naming the file, the frame and the entry.
    """
    rate_hz = require_rate(fps_hz, source)
    paths = sorted(source.rglob(FILE))
    if not paths:
        raise ValueError(f"{source}: no {FILE} in it or below; the layout is SCENE/{FILE} with image files")
    scenes = [_scene(source, path, allow_missing_captions) for path in paths]
    bent = [path for path in paths if _is_bent(read_json(path))]
    warn_some(bent, len(paths), "scenes have lens distortion, which is dropped")
    return Source(episodes=scene_episodes(scenes, rate_hz), num_episodes=len(scenes), fps_hz=rate_hz)


def _scene(source: Path, path: Path, allow_missing_captions: bool) -> Scene:
    value = read_json(path)
    frames = entry(path, value, "frames", list)
    if not frames:
        raise ValueError(f"{path}: frames is empty")
    model = value.get("camera_model", "OPENCV")
    if model not in _PERSPECTIVE:
        raise ValueError(f"{path}: camera_model is {model!r}, wanted one of {', '.join(_PERSPECTIVE)}")
    places = [f"frames[{index}]" for index in range(len(frames))]
    names = [entry(path, frame, "file_path", str, place) for frame, place in zip(frames, places, strict=True)]
    order = sorted(range(len(frames)), key=lambda index: natural_order(names[index]))
    images = tuple(_image(path, names[index]) for index in order)
    size_px = shared_size_px(images)
    poses = [
        numbers(f"{path}: {places[i]}: transform_matrix", entry(path, frames[i], "transform_matrix", list, places[i]),
                (4, 4))
        for i in order
    ]  # fmt: skip
    name = str(path.parent.relative_to(source)) if path.parent != source else source.resolve().name
    return Scene(
        name=name,
        text=caption([path.parent / "caption.txt"], name, allow_missing_captions),
        images=images,
        size_px=size_px,
        lens_T4=np.stack([_lens(path, {**value, **frames[i]}, size_px, places[i]) for i in order]),
        world_from_camera_T44=opencv_from_opengl(np.stack(poses)),
    )


def _image(path: Path, name: str) -> Path:
    """The image that a frame names; without a suffix, or in a folder of smaller copies, when only that is there."""
    named = path.parent / name
    candidates = [named, *(named.with_name(named.name + suffix) for suffix in IMAGE_SUFFIXES)]
    candidates += [named.parent.with_name(folder) / named.name for folder in _SMALLER_FOLDERS]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise ValueError(f"{path}: file_path {name!r}: no such image as {named}")
    return found


def _lens(path: Path, value: dict[str, Any], size_px: tuple[int, int], place: str) -> np.ndarray:
    """fx, fy, cx, cy [4] of one frame, whose own entries go before those of the file."""
    number = (int, float)
    height, width = value.get("h", size_px[0]), value.get("w", size_px[1])
    if "fl_x" not in value and "camera_angle_x" in value:
        fx = 0.5 * width / math.tan(0.5 * entry(path, value, "camera_angle_x", number))
    else:
        fx = entry(path, value, "fl_x", number)
    lens = [fx, value.get("fl_y", fx), value.get("cx", width / 2), value.get("cy", height / 2)]
    lens_4 = numbers(f"{path}: {place}: fl_x, fl_y, cx, cy", lens, (4,))
    return scaled_lens(lens_4, (int(height), int(width)), size_px, f"{path}: w, h")


def _is_bent(value: dict[str, Any]) -> bool:
    return any(value.get(name) for name in _DISTORTION)
