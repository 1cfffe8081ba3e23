"""Writing video files, whole or not at all.

Shape legend: T frames, H W rows and columns, C channels (RGB).
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from worldtune.contract.files import write_whole
from worldtune.video.read import opened, read_frames
from worldtune.video.resample import resize

PIXEL_FORMATS = ("yuv420p", "yuv444p")
_FRAMES_IN_MEMORY = 48


def rational_rate(fps_hz: float) -> Fraction:
    """A frame rate as a fraction that video files can hold, e.g. 30000/1001."""
    return Fraction(fps_hz).limit_denominator(1001)


class VideoWriter:
    """An h264 file that grows by clips; every clip starts with a key frame, so seeking to it is exact."""

    def __init__(
        self,
        path: Path,
        *,
        fps_hz: float,
        height_px: int,
        width_px: int,
        crf: int = 18,
        pixel_format: str = "yuv420p",
        keyframe_interval: int = 12,
    ) -> None:
        """crf: 0 (lossless) .. 51 (worst). yuv444p keeps full colour resolution, for tiny or odd-sized frames."""
        if pixel_format not in PIXEL_FORMATS:
            raise ValueError(f"{path}: pixel format {pixel_format!r}, wanted one of {', '.join(PIXEL_FORMATS)}")
        if pixel_format == "yuv420p" and (height_px % 2 or width_px % 2):
            raise ValueError(f"{path}: yuv420p needs even sizes, got {height_px}x{width_px}; resize or use yuv444p")
        if fps_hz <= 0:
            raise ValueError(f"{path}: fps_hz must be positive, got {fps_hz}")
        self.path, self.fps_hz = path, fps_hz
        self.num_frames = self.num_bytes = 0
        self.height_px, self.width_px = height_px, width_px
        self._container = av.open(str(path), "w", format="mp4")
        options = {"crf": str(crf), "preset": "veryfast", "g": str(keyframe_interval)}
        self._stream = self._container.add_stream("libx264", rate=rational_rate(fps_hz), options=options)
        self._stream.height, self._stream.width = height_px, width_px
        self._stream.pix_fmt = pixel_format
        self._tick_s = 1 / rational_rate(fps_hz)
        self._stream.codec_context.time_base = self._tick_s

    def append(self, video_THWC: np.ndarray) -> float:
        """Add a clip, uint8 [T,H,W,3]; returns the time in seconds at which it starts."""
        expected = (self.height_px, self.width_px, 3)
        if video_THWC.dtype != np.uint8 or video_THWC.ndim != 4 or video_THWC.shape[1:] != expected:
            got = f"{video_THWC.dtype} {list(video_THWC.shape)}"
            raise ValueError(f"{self.path}: video must be uint8 [T,{self.height_px},{self.width_px},3], got {got}")
        start_s = self.num_frames / self.fps_hz
        for position, pixels_HWC in enumerate(video_THWC):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HWC), format="rgb24")
            frame.pts, frame.time_base = self.num_frames, self._tick_s
            if position == 0:
                frame.pict_type = av.video.frame.PictureType.I
            self._mux(frame)
            self.num_frames += 1
        return start_s

    def close(self) -> None:
        """Flush the encoder and finish the file."""
        self._mux(None)
        self._container.close()

    def _mux(self, frame: Any) -> None:
        packets = self._stream.encode(frame)
        self.num_bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)


def write_video(
    path: Path, video_THWC: np.ndarray, fps_hz: float, *, crf: int = 18, pixel_format: str = "yuv420p"
) -> None:
    """Write uint8 [T,H,W,3] as an h264 mp4."""
    with write_whole(path) as temporary:
        _, height_px, width_px, _ = video_THWC.shape
        writer = VideoWriter(
            temporary, fps_hz=fps_hz, height_px=height_px, width_px=width_px, crf=crf, pixel_format=pixel_format
        )
        writer.append(video_THWC)
        writer.close()


def copy_stream(source: Path, destination: Path) -> None:
    """Copy the video stream without re-encoding, shifted so that its first frame is at time 0."""
    with opened(source) as (reader, stream), write_whole(destination) as temporary:
        packets = [packet for packet in reader.demux(stream) if packet.size]
        shift = min(packet.pts for packet in packets if not packet.is_discard)
        with av.open(str(temporary), "w", format="mp4") as container:
            copy = container.add_stream_from_template(stream)
            for packet in packets:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = copy
                container.mux(packet)


def transcode(
    source: Path, destination: Path, times_s: np.ndarray, *, fps_hz: float, height_px: int, width_px: int, crf: int = 18
) -> None:
    """Re-encode the frames at the given ascending times as h264 of constant rate, resized ("crop").

    Few frames are in memory at a time. times_s: times of frames of the source, on its clock; they may repeat.
    """
    with write_whole(destination) as temporary:
        writer = VideoWriter(temporary, fps_hz=fps_hz, height_px=height_px, width_px=width_px, crf=crf)
        for first in range(0, len(times_s), _FRAMES_IN_MEMORY):
            part_s = times_s[first : first + _FRAMES_IN_MEMORY]
            writer.append(resize(read_frames(source, part_s, tolerance_s=1e-6), height_px, width_px)[0])
        writer.close()
