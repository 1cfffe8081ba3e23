"""Foreign frames, from video files of any kind or from image files, on their way to h264 of constant rate.

Shape legend: T frames, H W rows and columns, C channels (RGB).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from worldtune.contract.files import write_whole
from worldtune.video.resample import nearest_frames, resize, uniform_times_s
from worldtune.video.write import VideoWriter

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_SAME_RATE_TOLERANCE = 0.002
_JITTER_FRAMES = 0.25
_FRAMES_IN_MEMORY = 24


def common_size_px(sizes_px: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The most frequent (height, width), made even: h264 halves the colour resolution."""
    height_px, width_px = Counter(sizes_px).most_common(1)[0][0]
    return height_px // 2 * 2, width_px // 2 * 2


def image_size_px(path: Path) -> tuple[int, int]:
    """(height, width) of an image file, from its header. ValueError naming the file."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise ValueError(f"{path}: no such image") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: not a readable image ({error})") from None


def shared_size_px(paths: Sequence[Path]) -> tuple[int, int]:
    """(height, width) of all images. ValueError naming the first that differs."""
    wanted = image_size_px(paths[0])
    for path in paths[1:]:
        if (got := image_size_px(path)) != wanted:
            raise ValueError(f"{path}: is {got[0]}x{got[1]} px, {paths[0].name} is {wanted[0]}x{wanted[1]}")
    return wanted


def write_images(paths: Sequence[Path], destination: Path, *, fps_hz: float, size_px: tuple[int, int]) -> Path:
    """Encode image files as an h264 video, resized ("crop") to (height, width); few are in memory at a time."""
    with write_whole(destination) as temporary:
        writer = VideoWriter(temporary, fps_hz=fps_hz, height_px=size_px[0], width_px=size_px[1])
        for first in range(0, len(paths), _FRAMES_IN_MEMORY):
            part_THWC = np.stack([_pixels(path) for path in paths[first : first + _FRAMES_IN_MEMORY]])
            writer.append(resize(part_THWC, *size_px)[0])
        writer.close()
    return destination


def _pixels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: not a readable image ({error})") from None


def typical_rate_hz(times_s: np.ndarray) -> float:
    """Frame rate of frames at these times: the median, as a whole number when within 1 % of one."""
    rate_hz = 1 / float(np.median(np.diff(times_s)))
    return float(round(rate_hz)) if abs(rate_hz / max(1, round(rate_hz)) - 1) < 0.01 else rate_hz


def steady_frames(times_s: np.ndarray, fps_hz: float) -> np.ndarray:
    """Which frames to show, int64, so that frames at times_s become a recording of constant rate.

    All of them when they lie on a grid of that rate already, up to a quarter of a frame.
    """
    rate_hz = (len(times_s) - 1) / float(times_s[-1] - times_s[0]) if len(times_s) > 1 else fps_hz
    grid_s = times_s[0] + np.arange(len(times_s)) / rate_hz
    is_steady = np.abs(times_s - grid_s).max() * rate_hz < _JITTER_FRAMES
    if is_steady and abs(rate_hz / fps_hz - 1) < _SAME_RATE_TOLERANCE:
        return np.arange(len(times_s))
    return nearest_frames(times_s, uniform_times_s(times_s, fps_hz))
