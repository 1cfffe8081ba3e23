"""Reading video files: what is in them, and windows of frames decoded by seek.

Shape legend: T frames, H W rows and columns, C channels (RGB).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

_STANDARD_RATE_TOLERANCE = 2e-4
_JITTER_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video file holds."""

    num_frames: int
    fps_hz: float
    """Mean frame rate, snapped to a standard rate when within 0.02 % of one."""
    width_px: int
    height_px: int
    is_constant_rate: bool
    """True when every frame lies on the uniform grid of fps_hz, up to the clock of the file."""
    duration_s: float
    start_s: float
    """Time of the first frame on the clock of the file; 0 as a rule."""
    codec: str
    """Name of the compression, e.g. "h264"."""
    pixel_format: str
    rotation_deg: int
    """Rotation that a player applies; sizes above and decoded frames have it applied."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, video stream) of a file. ValueError when it is absent, empty, truncated or no video."""
    if not path.is_file():
        raise ValueError(f"{path}: no such video file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the video file is empty (0 bytes)")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: cannot be read as a video; it is truncated or not a video file ({reason})") from None
    with container:
        if not container.streams.video:
            raise ValueError(f"{path}: has no video stream; it is truncated or not a video file")
        yield container, container.streams.video[0]


def frame_times_s(path: Path) -> np.ndarray:
    """Time of every frame in seconds, float64 [T], ascending, without decoding. ValueError for a damaged file."""
    with opened(path) as (container, stream):
        return _frame_times_s(path, container, stream)


def _frame_times_s(path: Path, container: Any, stream: Any) -> np.ndarray:
    try:
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
    except av.FFmpegError as error:
        raise ValueError(f"{path}: the video is damaged ({error.strerror})") from None
    if len(packets) < stream.frames or any(packet.is_corrupt for packet in packets):
        raise ValueError(f"{path}: the video is truncated: {len(packets)} of {stream.frames} frames are there")
    if not packets:
        raise ValueError(f"{path}: the video has no frames")
    ticks = [packet.dts if packet.pts is None else packet.pts for packet in packets]
    if None in ticks:
        raise ValueError(f"{path}: the frames carry no timestamps; re-encode the video")
    return np.sort(np.array(ticks, dtype=np.float64)) * float(stream.time_base)


def probe(path: Path) -> VideoInfo:
    """Count frames, measure rate and size. Decodes one frame. ValueError for a damaged file."""
    with opened(path) as (container, stream):
        times_s = _frame_times_s(path, container, stream)
        declared_hz = float(stream.average_rate or 0)
        tick_s = float(stream.time_base)
        codec, pixel_format = stream.codec_context.name, stream.codec_context.pix_fmt or ""
    fps_hz = _rate_hz(path, times_s, declared_hz)
    first, rotation_deg = _first_frame(path)
    grid_s = times_s[0] + np.arange(len(times_s)) / fps_hz
    jitter_s = float(np.abs(times_s - grid_s).max())
    return VideoInfo(
        num_frames=len(times_s),
        fps_hz=fps_hz,
        width_px=first.shape[1],
        height_px=first.shape[0],
        is_constant_rate=jitter_s <= max(_JITTER_TOLERANCE / fps_hz, 1.01 * tick_s),
        duration_s=float(times_s[-1] - times_s[0]) + 1 / fps_hz,
        start_s=float(times_s[0]),
        codec=codec,
        pixel_format=pixel_format,
        rotation_deg=rotation_deg,
    )


def _rate_hz(path: Path, times_s: np.ndarray, declared_hz: float) -> float:
    span_s = float(times_s[-1] - times_s[0])
    mean_hz = (len(times_s) - 1) / span_s if span_s > 0 else declared_hz
    if mean_hz <= 0:
        raise ValueError(f"{path}: the frame rate is unknown; re-encode the video")
    whole_hz = round(mean_hz)
    for standard_hz in (float(whole_hz), whole_hz * 1000 / 1001):
        if abs(mean_hz - standard_hz) < _STANDARD_RATE_TOLERANCE * mean_hz:
            return standard_hz
    return mean_hz


def _first_frame(path: Path) -> tuple[np.ndarray, int]:
    with opened(path) as (container, stream):
        try:
            frame = next(container.decode(stream), None)
        except av.FFmpegError as error:
            raise ValueError(f"{path}: the first frame cannot be decoded ({error.strerror})") from None
        if frame is None:
            raise ValueError(f"{path}: the first frame cannot be decoded")
        return _pixels(frame, VideoReformatter()), frame.rotation


def _pixels(frame: Any, to_rgb: VideoReformatter) -> np.ndarray:
    # A frame that converts itself makes a converter, threads and all, for itself alone: at 64 px 0.6 ms, and 5 ms on a
    # busy machine, against 0.04 ms.
    pixels_HWC = to_rgb.reformat(frame, format="rgb24").to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels_HWC, turns)) if turns else pixels_HWC


def read_frames(path: Path, times_s: Sequence[float] | np.ndarray, tolerance_s: float) -> np.ndarray:
    """Decode the frames nearest to the given times: uint8 [T,H,W,3].

    times_s: ascending, on the clock of the file; times may repeat.
    Raises ValueError when no frame lies within tolerance_s of a time (the video is too short) or decoding fails.
    """
    wanted_s = [float(time_s) for time_s in times_s]
    assert wanted_s, "no times given"
    assert all(a <= b for a, b in zip(wanted_s, wanted_s[1:], strict=False)), "times must ascend"
    chosen: list[np.ndarray] = []
    to_rgb = VideoReformatter()
    before: tuple[float, Any] | None = None
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        for now in _decoded_from(path, container, stream, wanted_s[0]):
            while len(chosen) < len(wanted_s) and wanted_s[len(chosen)] <= now[0]:
                frame = _nearest(path, wanted_s[len(chosen)], [before, now], tolerance_s)
                chosen.append(_pixels(frame, to_rgb))
            if len(chosen) == len(wanted_s):
                return np.stack(chosen)
            before = now
        while len(chosen) < len(wanted_s):
            chosen.append(_pixels(_nearest(path, wanted_s[len(chosen)], [before], tolerance_s), to_rgb))
    return np.stack(chosen)


def _decoded_from(path: Path, container: Any, stream: Any, start_s: float) -> Iterator[tuple[float, Any]]:
    """(time, frame) from the last key frame at or before a time to the end."""
    tick_s = float(stream.time_base)
    try:
        container.seek(max(0, round(start_s / tick_s)), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is not None:
                yield frame.pts * tick_s, frame
    except av.FFmpegError as error:
        raise ValueError(
            f"{path}: decoding failed after {start_s:.3f} s; the file is damaged ({error.strerror})"
        ) from None


def _nearest(path: Path, time_s: float, candidates: list[tuple[float, Any] | None], tolerance_s: float) -> Any:
    found = [candidate for candidate in candidates if candidate is not None]
    if not found:
        raise ValueError(f"{path}: no frame could be decoded at {time_s:.3f} s")
    nearest_s, frame = min(found, key=lambda candidate: abs(candidate[0] - time_s))
    if abs(nearest_s - time_s) > tolerance_s:
        raise ValueError(f"{path}: too short: a frame is wanted at {time_s:.3f} s, the nearest is at {nearest_s:.3f} s")
    if frame.is_corrupt:
        raise ValueError(f"{path}: the frame at {nearest_s:.3f} s is damaged")
    return frame


def read_video(path: Path) -> np.ndarray:
    """All frames of a file, uint8 [T,H,W,3]. ValueError for a damaged file."""
    times_s = frame_times_s(path)
    return read_frames(path, times_s, tolerance_s=1e-6)


def decode_image(data: bytes, source: str) -> np.ndarray:
    """A compressed image (PNG, JPEG) as uint8 [H,W,3]. ValueError naming the source when it cannot be decoded."""
    try:
        with av.open(BytesIO(data), "r") as container:
            return _pixels(next(container.decode(video=0)), VideoReformatter())
    except (av.FFmpegError, StopIteration, IndexError):
        raise ValueError(f"{source}: not a readable image") from None
