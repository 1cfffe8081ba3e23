"""Structure from motion: camera poses and lens of a clip from its frames. Needs the extra `poses` (pycolmap).

Shape legend: T frames, H W rows and columns, C channels.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from worldtune.contract.poses import interpolated, inverse
from worldtune.video.read import frame_times_s, read_frames

_MAX_FRAMES = 96
"""Longer clips are solved on evenly spaced frames; the poses between them are interpolated."""
_MIN_FRAMES = 3
_MIN_SHARE = 0.9
_PARALLAX_DEG = 2.0
"""Clips move less than photographs taken around an object, for which COLMAP asks 16 degrees."""


class NotSolvedError(Exception):
    """The poses of this clip cannot be found; the message says why."""


def require_pycolmap() -> Any:
    """The module. ValueError when it is not installed."""
    try:
        return importlib.import_module("pycolmap")
    except ImportError:
        raise ValueError("--estimate-poses needs `pip install -e '.[poses]'` in WorldTune's checkout") from None


def camera_motion(video: np.ndarray | Path, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [T,H,W,3], or a file -> world_from_camera [T,4,4] and fx, fy, cx, cy in px [T,4], float64.

    OpenCV axes; the first camera is the world, and the largest distance from it is 1: the true scale is unknown.
    scratch: an empty folder for images and the database.
    Raises NotSolvedError when less than 90 % of the frames find a place, or the first or the last does not.
    """
    pycolmap = require_pycolmap()
    num_frames, chosen = _write_frames(video, scratch / "images")
    if len(chosen) < _MIN_FRAMES:
        raise NotSolvedError(f"it has {num_frames} frames, at least {_MIN_FRAMES} are needed")
    best = _largest(_reconstructions(pycolmap, scratch))
    if best is None:
        raise NotSolvedError("no two frames show enough of the same scene from different places")
    images = [best.image(index) for index in best.reg_image_ids()]
    found = {int(Path(image.name).stem): image.cam_from_world().matrix() for image in images}
    if len(found) < _MIN_SHARE * len(chosen):
        raise NotSolvedError(f"only {len(found)} of {len(chosen)} frames find a place")
    if chosen[0] not in found or chosen[-1] not in found:
        raise NotSolvedError("the first or the last frame finds no place")
    placed = np.array(sorted(found))
    camera_from_world = np.tile(np.eye(4), (len(placed), 1, 1))
    camera_from_world[:, :3] = [found[frame] for frame in placed]
    poses = interpolated(placed, inverse(camera_from_world), np.arange(num_frames))
    first_from_camera = inverse(poses[:1]) @ poses
    reach = float(np.linalg.norm(first_from_camera[:, :3, 3], axis=1).max())
    if reach < 1e-9:
        raise NotSolvedError("the camera does not move")
    first_from_camera[:, :3, 3] /= reach
    focal, cx, cy = images[0].camera.params
    return first_from_camera, np.tile([focal, focal, cx, cy], (num_frames, 1))


def _write_frames(video: np.ndarray | Path, folder: Path) -> tuple[int, list[int]]:
    """Frames as images named by their number. Returns the number of frames of the clip and those written."""
    folder.mkdir()
    times_s = frame_times_s(video) if isinstance(video, Path) else np.arange(len(video))
    chosen = np.linspace(0, len(times_s) - 1, min(len(times_s), _MAX_FRAMES)).round().astype(int).tolist()
    frames = read_frames(video, times_s[chosen], tolerance_s=1e-6) if isinstance(video, Path) else video[chosen]
    for number, frame_HWC in zip(chosen, frames, strict=True):
        Image.fromarray(frame_HWC).save(folder / f"{number:06d}.png")
    return len(times_s), chosen


def _reconstructions(pycolmap: Any, scratch: Path) -> dict[int, Any]:
    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(0)
    database, images, models = scratch / "database.db", scratch / "images", scratch / "models"
    models.mkdir()
    reader = pycolmap.ImageReaderOptions(camera_model="SIMPLE_PINHOLE")
    pycolmap.extract_features(database, images, camera_mode=pycolmap.CameraMode.SINGLE, reader_options=reader)
    pycolmap.match_sequential(database)
    options = pycolmap.IncrementalPipelineOptions(random_seed=0, min_model_size=_MIN_FRAMES, extract_colors=False)
    options.mapper.init_min_tri_angle = _PARALLAX_DEG
    found: dict[int, Any] = pycolmap.incremental_mapping(database, images, models, options)
    return found


def _largest(found: dict[int, Any]) -> Any:
    return max(found.values(), key=lambda model: model.num_reg_images(), default=None)
