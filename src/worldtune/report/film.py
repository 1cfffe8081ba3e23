"""Clips as film strips: all frames of a column side by side in one WebP image, so that a page plays columns in step.

Shape legend: V views, T frames, H W rows and columns, C = 3 colours.
"""

import base64
import io
import math

import numpy as np
from PIL import Image

MAX_STRIP_WIDTH_PX = 16000
"""WebP ends at 16383 px."""
MAX_FRAME_WIDTH_PX = 320
QUALITY = 95


def tiled(video_VTHWC: np.ndarray) -> np.ndarray:
    """Views of a clip laid out in one frame, three to a row at most: uint8 [T,H,W,3]."""
    views, frames, height, width, colours = video_VTHWC.shape
    columns = min(views, 3)
    rows = math.ceil(views / columns)
    canvas = np.zeros((frames, rows * height, columns * width, colours), np.uint8)
    for view in range(views):
        top, left = view // columns * height, view % columns * width
        canvas[:, top : top + height, left : left + width] = video_VTHWC[view]
    return canvas


def strip(video_THWC: np.ndarray, *, margin_px: int = 0, colour: int = 255) -> np.ndarray:
    """Frames from left to right: uint8 [H,T*W + margins,3]."""
    frames = [np.asarray(frame) for frame in video_THWC]
    if not margin_px:
        return np.concatenate(frames, axis=1)
    gap = np.full((frames[0].shape[0], margin_px, 3), colour, np.uint8)
    parts = [part for frame in frames for part in (gap, frame)][1:]
    return np.concatenate(parts, axis=1)


def shrunk(video_THWC: np.ndarray) -> np.ndarray:
    """The clip at a size whose strip a browser can hold; small clips stay as they are."""
    frames, height, width, _ = video_THWC.shape
    limit = min(MAX_FRAME_WIDTH_PX, MAX_STRIP_WIDTH_PX // frames)
    if width <= limit:
        return video_THWC
    size = (limit, max(1, round(height * limit / width)))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in video_THWC])


def webp(image_HWC: np.ndarray, quality: int = QUALITY) -> bytes:
    """An image as WebP with loss."""
    stream = io.BytesIO()
    Image.fromarray(image_HWC).save(stream, "WEBP", quality=quality, method=6)
    return stream.getvalue()


def film_uri(video_THWC: np.ndarray) -> str:
    """The film strip of a clip as a data URI."""
    data = base64.b64encode(webp(strip(shrunk(video_THWC)))).decode("ascii")
    return f"data:image/webp;base64,{data}"
