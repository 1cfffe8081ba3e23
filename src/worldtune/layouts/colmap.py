"""Layout "colmap": scenes with images/ and a COLMAP model, text or binary.

Shape legend: T frames.
"""

from dataclasses import dataclass
from pathlib import Path
from struct import Struct, error

import numpy as np

from worldtune.contract.poses import inverse, rigid, rotations_from_quaternions
from worldtune.dataset import Source
from worldtune.dataset.entries import caption, lines, natural_order, numbers, require_rate, warn_some
from worldtune.dataset.scenes import Scene, scaled_lens, scene_episodes
from worldtune.video.footage import shared_size_px

MODELS = (
    ("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8), ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4), ("RADIAL_FISHEYE", 5), ("THIN_PRISM_FISHEYE", 12),
)  # fmt: skip
"""Names and numbers of parameters, by COLMAP's model id."""
_ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_TWO_FOCALS = ("PINHOLE", "OPENCV", "FULL_OPENCV")
_PLACES = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", ".")


@dataclass(frozen=True)
class _Camera:
    model: str
    size_px: tuple[int, int]
    params: tuple[float, ...]

    @property
    def lens(self) -> list[float]:
        """fx, fy, cx, cy."""
        return [self.params[0], *self.params[:3]] if self.model in _ONE_FOCAL else list(self.params[:4])

    @property
    def is_bent(self) -> bool:
        """Whether the lens bends straight lines."""
        return any(self.params[3 if self.model in _ONE_FOCAL else 4 :])


@dataclass(frozen=True)
class _Image:
    name: str
    camera_id: int
    wxyz: tuple[float, ...]
    translation: tuple[float, ...]


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """A scene for SOURCE, or for each of its folders, that has images/ and a model.

    Frames in the order of names, 2 before 10. fps_hz: needed, the layout tells none. ValueError naming the file and
    what is missing or wrong in it.
    """
    rate_hz = require_rate(fps_hz, source)
    folders = [source, *sorted(path for path in source.iterdir() if path.is_dir())]
    models = {folder: model for folder in folders if (model := _model(folder)) is not None}
    if source in models:
        models = {source: models[source]}
    if not models:
        raise ValueError(
            f"{source}: no COLMAP model; the layout is SCENE/images/ and SCENE/sparse/0/{{cameras,images}}.bin or .txt"
        )
    scenes, bent = [], []
    for folder, model in models.items():
        scene, is_bent = _scene(folder, model, allow_missing_captions)
        scenes.append(scene)
        bent += [folder] if is_bent else []
    warn_some(bent, len(scenes), "scenes have lens distortion, which is dropped; undistort them with COLMAP first")
    return Source(episodes=scene_episodes(scenes, rate_hz), num_episodes=len(scenes), fps_hz=rate_hz)


def _model(folder: Path) -> Path | None:
    for place in _PLACES:
        if any((folder / place / f"{name}.{kind}").is_file() for name in ("cameras", "images") for kind in _KINDS):
            return folder / place
    return None


_KINDS = ("bin", "txt")


def _scene(folder: Path, model: Path, allow_missing_captions: bool) -> tuple[Scene, bool]:
    kind = next((kind for kind in _KINDS if (model / f"cameras.{kind}").is_file()), None)
    if kind is None:
        raise ValueError(f"{model}: no cameras.bin and no cameras.txt")
    camera_file, image_file = model / f"cameras.{kind}", model / f"images.{kind}"
    if not image_file.is_file():
        raise ValueError(f"{image_file}: no such file beside {camera_file.name}")
    cameras = _cameras_from_binary(camera_file) if kind == "bin" else _cameras_from_text(camera_file)
    images = _images_from_binary(image_file) if kind == "bin" else _images_from_text(image_file)
    if not images:
        raise ValueError(f"{image_file}: no images")
    for image in images:
        if image.camera_id not in cameras:
            raise ValueError(f"{image_file}: {image.name} has camera {image.camera_id}, {camera_file} does not")
        if (wrong := cameras[image.camera_id].model) not in (*_ONE_FOCAL, *_TWO_FOCALS):
            raise ValueError(f"{camera_file}: camera {image.camera_id} is {wrong}; undistort with COLMAP first")
    images = sorted(images, key=lambda image: natural_order(image.name))
    files = tuple(folder / "images" / image.name for image in images)
    size_px = shared_size_px(files)
    used = [cameras[image.camera_id] for image in images]
    lens_T4 = [scaled_lens(np.array(c.lens), c.size_px, size_px, f"{camera_file}: width, height") for c in used]
    rotations = rotations_from_quaternions(np.array([image.wxyz for image in images]), f"{image_file}: QW QX QY QZ")
    camera_from_world = rigid(rotations, np.array([image.translation for image in images]))
    name = folder.resolve().name
    scene = Scene(
        name=name,
        text=caption([folder / "caption.txt"], name, allow_missing_captions),
        images=files,
        size_px=size_px,
        lens_T4=np.stack(lens_T4),
        world_from_camera_T44=inverse(camera_from_world),
    )
    return scene, any(camera.is_bent for camera in used)


def _camera(path: Path, name: str, size_px: tuple[int, int], params: tuple[float, ...]) -> _Camera:
    if (wanted := dict(MODELS).get(name)) != len(params):
        raise ValueError(f"{path}: a camera {name} with {len(params)} parameters, wanted {wanted or 'a known model'}")
    return _Camera(name, size_px, params)


def _cameras_from_text(path: Path) -> dict[int, _Camera]:
    cameras = {}
    for number, line in enumerate(lines(path), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 5 or not (words[0].isdigit() and words[2].isdigit() and words[3].isdigit()):
            raise ValueError(f"{path}: line {number} is {line[:60]!r}, wanted CAMERA_ID MODEL WIDTH HEIGHT PARAMS")
        params = tuple(numbers(f"{path}: line {number}", words[4:], (None,)).tolist())
        cameras[int(words[0])] = _camera(path, words[1], (int(words[3]), int(words[2])), params)
    return cameras


def _images_from_text(path: Path) -> list[_Image]:
    """Two lines per image: the pose, then 2D points, which may be none: then the line is empty."""
    found = [(number, line) for number, line in enumerate(lines(path), 1) if not line.startswith("#")]
    images = []
    for number, line in found[::2]:
        words = line.split(maxsplit=9)
        if not words:
            continue
        if len(words) != 10 or not words[8].isdigit():
            wanted = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            raise ValueError(f"{path}: line {number} is {line[:60]!r}, wanted {wanted}")
        values = numbers(f"{path}: line {number}", words[1:8], (7,)).tolist()
        images.append(_Image(words[9].strip(), int(words[8]), tuple(values[:4]), tuple(values[4:])))
    return images


class _Bytes:
    """Little-endian numbers of a file, one after another."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.place = path, path.read_bytes(), 0

    def take(self, form: str) -> tuple[float, ...]:
        """Numbers of a struct format. ValueError when the file ends before."""
        layout = Struct("<" + form)
        try:
            values = layout.unpack_from(self.data, self.place)
        except error:
            raise ValueError(f"{self.path}: the file is cut off at byte {len(self.data)}") from None
        self.place += layout.size
        return values

    def word(self) -> str:
        """Text up to a zero byte."""
        stop = self.data.find(b"\0", self.place)
        if stop < 0:
            raise ValueError(f"{self.path}: the file is cut off at byte {len(self.data)}")
        text = self.data[self.place : stop].decode("utf-8", "replace")
        self.place = stop + 1
        return text


def _cameras_from_binary(path: Path) -> dict[int, _Camera]:
    stream, cameras = _Bytes(path), {}
    for _ in range(int(stream.take("Q")[0])):
        camera_id, model, width, height = (int(value) for value in stream.take("iiQQ"))
        if not 0 <= model < len(MODELS):
            raise ValueError(f"{path}: camera {camera_id} has the unknown model {model}")
        name, count = MODELS[model]
        cameras[camera_id] = _camera(path, name, (height, width), stream.take(f"{count}d"))
    return cameras


def _images_from_binary(path: Path) -> list[_Image]:
    stream, images = _Bytes(path), []
    for _ in range(int(stream.take("Q")[0])):
        values = stream.take("i7di")
        name = stream.word()
        (num_points,) = stream.take("Q")
        stream.place += int(num_points) * 24
        images.append(_Image(name, int(values[8]), values[1:5], values[5:8]))
    return images
