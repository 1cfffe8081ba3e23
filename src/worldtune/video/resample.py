"""Resampling in time (nearest source frame) and in space (antialiased, with the pixel transform).

Shape legend: T frames, H W rows and columns, C channels.
"""

import numpy as np
import torch
from torch.nn import functional

RESIZE_MODES = ("crop", "stretch")


def uniform_times_s(times_s: np.ndarray, fps_hz: float) -> np.ndarray:
    """Times of a constant frame rate over a recording with frames at times_s: float64 [T]."""
    num_frames = int(np.floor((times_s[-1] - times_s[0]) * fps_hz + 1e-6)) + 1
    return times_s[0] + np.arange(num_frames) / fps_hz


def nearest_frames(times_s: np.ndarray, wanted_s: np.ndarray) -> np.ndarray:
    """Index into ascending times_s of the frame nearest to each wanted time: int64."""
    after = np.clip(np.searchsorted(times_s, wanted_s), 1, len(times_s) - 1) if len(times_s) > 1 else None
    if after is None:
        return np.zeros(len(wanted_s), dtype=np.int64)
    is_before_nearer = wanted_s - times_s[after - 1] <= times_s[after] - wanted_s
    return np.where(is_before_nearer, after - 1, after)


def frame_indices(start: int, num_frames: int, source_fps_hz: float, fps_hz: float) -> np.ndarray:
    """Source frames of a window: num_frames at fps_hz from frame `start` of a recording at source_fps_hz: int64."""
    return start + np.floor(np.arange(num_frames) * (source_fps_hz / fps_hz) + 0.5 - 1e-9).astype(np.int64)


def resize(video_THWC: np.ndarray, height_px: int, width_px: int, how: str = "crop") -> tuple[np.ndarray, np.ndarray]:
    """Resize uint8 [T,H,W,3] to the given size; returns it and the pixel transform, float64 [3,3].

    how: "crop" keeps the aspect ratio and cuts the middle, "stretch" keeps the whole image.
    The transform maps homogeneous pixel positions of the source to the result. Positions are continuous: the image
    spans 0..W and 0..H, the centre of the first pixel is (0.5, 0.5).
    """
    if how not in RESIZE_MODES:
        raise ValueError(f"resize is {how!r}, wanted one of {', '.join(RESIZE_MODES)}")
    source_height, source_width = video_THWC.shape[1:3]
    top, left, rows, columns = _kept(source_height, source_width, height_px, width_px, how)
    target_from_source = pixel_transform((source_height, source_width), (height_px, width_px), how)
    kept_THWC = video_THWC[:, top : top + rows, left : left + columns]
    if (rows, columns) == (height_px, width_px):
        return np.ascontiguousarray(kept_THWC), target_from_source
    kept_TCHW = torch.from_numpy(np.ascontiguousarray(kept_THWC)).permute(0, 3, 1, 2)
    result_TCHW = functional.interpolate(
        kept_TCHW, size=(height_px, width_px), mode="bilinear", antialias=True, align_corners=False
    )
    return np.ascontiguousarray(result_TCHW.permute(0, 2, 3, 1).numpy()), target_from_source


def pixel_transform(source_px: tuple[int, int], target_px: tuple[int, int], how: str = "crop") -> np.ndarray:
    """What `resize` does to pixel positions, float64 [3,3]. Sizes are (height, width)."""
    top, left, rows, columns = _kept(*source_px, *target_px, how)
    scale_y, scale_x = target_px[0] / rows, target_px[1] / columns
    return np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y], [0, 0, 1]])


def _kept(source_height: int, source_width: int, height_px: int, width_px: int, how: str) -> tuple[int, int, int, int]:
    """(top, left, rows, columns) of the source that the result shows."""
    if how == "stretch":
        return 0, 0, source_height, source_width
    scale = max(height_px / source_height, width_px / source_width)
    rows = min(source_height, round(height_px / scale))
    columns = min(source_width, round(width_px / scale))
    return (source_height - rows) // 2, (source_width - columns) // 2, rows, columns


def resized_intrinsics(intrinsics: np.ndarray, target_from_source: np.ndarray) -> np.ndarray:
    """Intrinsics [..., (fx, fy, cx, cy)] in px after the pixel transform of `resize`."""
    scale = np.array([target_from_source[0, 0], target_from_source[1, 1]])
    shift = target_from_source[:2, 2]
    result = np.concatenate([intrinsics[..., :2] * scale, intrinsics[..., 2:] * scale + shift], axis=-1)
    return result.astype(intrinsics.dtype)
