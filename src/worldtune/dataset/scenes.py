"""Scene: frames of one moving camera with poses and lenses, as photogrammetry and its datasets store them.

Shape legend: T frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from worldtune.contract.poses import require_poses
from worldtune.dataset.episode import Episode
from worldtune.video.footage import common_size_px, write_images
from worldtune.video.resample import pixel_transform, resized_intrinsics
from worldtune.video.write import transcode


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One recording of one camera. The frames are image files, or lie in one video."""

    name: str
    text: str
    images: tuple[Path, ...] = ()
    """An image per frame, in the order of time; empty for a video."""
    video: Path | None = None
    times_s: np.ndarray | None = None
    """Times of the frames on the clock of the video."""
    size_px: tuple[int, int]
    """(height, width) of the frames."""
    lens_T4: np.ndarray
    """fx, fy, cx, cy in px of frames of size_px."""
    world_from_camera_T44: np.ndarray
    """OpenCV axes."""


def scene_episodes(scenes: Sequence[Scene], fps_hz: float) -> Iterator[Episode]:
    """Scenes as episodes of the camera `main`; frames of another size than most are scaled and cut, lenses follow."""
    size_px = common_size_px(scene.size_px for scene in scenes)
    with TemporaryDirectory() as scratch:
        for scene in scenes:
            path = Path(scratch) / "clip.mp4"
            if scene.video is None:
                write_images(scene.images, path, fps_hz=fps_hz, size_px=size_px)
            else:
                assert scene.times_s is not None
                transcode(scene.video, path, scene.times_s, fps_hz=fps_hz, height_px=size_px[0], width_px=size_px[1])
            lens_T4 = resized_intrinsics(scene.lens_T4, pixel_transform(scene.size_px, size_px))
            require_poses(scene.world_from_camera_T44, f"{scene.name}: camera.world_from_camera")
            yield Episode(
                name=scene.name,
                videos={"main": path},
                fps_hz=fps_hz,
                texts=scene.text,
                features={
                    "camera.intrinsics": lens_T4[None].astype(np.float32),
                    "camera.world_from_camera": scene.world_from_camera_T44[None].astype(np.float32),
                },
            )


def scaled_lens(lens_T4: np.ndarray, from_px: tuple[int, int], to_px: tuple[int, int], source: str) -> np.ndarray:
    """The lens of the same pictures stored at another size, (height, width). ValueError when the shape differs."""
    factor = np.array([to_px[1] / from_px[1], to_px[0] / from_px[0]])
    if abs(factor[0] / factor[1] - 1) > 0.02:
        got = f"{to_px[1]}x{to_px[0]} px (width x height)"
        raise ValueError(f"{source} is of frames of {from_px[1]}x{from_px[0]} px, the images have {got}")
    return lens_T4 * np.tile(factor, 2)
