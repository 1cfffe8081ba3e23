"""The video files of one camera of a dataset that is being written.

Shape legend: T frames, H W rows and columns, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.dataset import schema, stats
from worldtune.video.read import VideoInfo, frame_times_s, probe, read_frames
from worldtune.video.write import PIXEL_FORMATS, VideoWriter, copy_stream, transcode

_SAMPLES = 4
_MAX_DRIFT_FRAMES = 0.1


def can_be_copied(video: VideoInfo, fps_hz: float) -> bool:
    """Whether a file can enter a dataset of that rate as it is, without being encoded again."""
    drift_frames = abs(video.fps_hz / fps_hz - 1) * video.num_frames
    is_plain = video.codec == "h264" and video.pixel_format in PIXEL_FORMATS and video.rotation_deg == 0
    return is_plain and video.is_constant_rate and drift_frames < _MAX_DRIFT_FRAMES


def fitted(
    path: Path,
    info: VideoInfo,
    scratch: Path,
    *,
    fps_hz: float,
    size_px: tuple[int, int],
    times_s: np.ndarray | None = None,
) -> Path:
    """The file itself when a dataset of that rate and (height, width) can take it; else `scratch`, encoded again.

    info: what `probe` says of the file. times_s: frames that are to be shown, on its clock; None: all.
    """
    is_whole = times_s is None or len(times_s) == info.num_frames
    if is_whole and (info.height_px, info.width_px) == size_px and can_be_copied(info, fps_hz):
        return path
    times_s = frame_times_s(path) if times_s is None else times_s
    transcode(path, scratch, times_s, fps_hz=fps_hz, height_px=size_px[0], width_px=size_px[1])
    return scratch


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the frames of one episode went."""

    chunk_index: int
    file_index: int
    from_s: float
    num_frames: int
    fps_hz: float
    stats: stats.Stats

    def columns(self, key: str) -> dict[str, Any]:
        """Columns of the episodes table."""
        return {
            f"videos/{key}/chunk_index": self.chunk_index,
            f"videos/{key}/file_index": self.file_index,
            f"videos/{key}/from_timestamp": self.from_s,
            f"videos/{key}/to_timestamp": self.from_s + self.num_frames / self.fps_hz,
        }


class VideoFiles:
    """Arrays are encoded one after another into files of bounded size; a file given by path is copied as it is."""

    def __init__(self, folder: Path, view: str, fps_hz: float, encoding: Mapping[str, Any]) -> None:
        self.folder, self.view, self.fps_hz, self.encoding = folder, view, fps_hz, encoding
        self.key = f"{schema.IMAGE_PREFIX}{view}"
        self._num_files = 0
        self._writer: VideoWriter | None = None
        self._size_px: tuple[int, int] | None = None
        self._pixel_format = ""

    def add(self, video: np.ndarray | Path, name: str) -> Place:
        """Store one episode. ValueError naming the episode when size or rate differ from the dataset's."""
        return self._copy(video, name) if isinstance(video, Path) else self._encode(video, name)

    def _encode(self, video_THWC: np.ndarray, name: str) -> Place:
        if video_THWC.dtype != np.uint8 or video_THWC.ndim != 4 or video_THWC.shape[-1] != 3 or not len(video_THWC):
            got = f"{video_THWC.dtype} {list(video_THWC.shape)}"
            raise ValueError(f"{name}: video of {self.view} must be uint8 [T,H,W,3] with T >= 1, got {got}")
        self._require_size(video_THWC.shape[1], video_THWC.shape[2], name)
        if self._writer is None or self._writer.num_bytes > schema.VIDEO_FILE_MB * 2**20:
            self.close()
            self._pixel_format = self.encoding["pixel_format"]
            height_px, width_px = video_THWC.shape[1:3]
            self._writer = VideoWriter(
                self._next_path(), fps_hz=self.fps_hz, height_px=height_px, width_px=width_px, **self.encoding
            )
        from_s = self._writer.append(video_THWC)
        samples = video_THWC[np.linspace(0, len(video_THWC) - 1, min(_SAMPLES, len(video_THWC))).astype(int)]
        return self._place(from_s, len(video_THWC), samples)

    def _copy(self, path: Path, name: str) -> Place:
        found = probe(path)
        if not can_be_copied(found, self.fps_hz):
            got = f"{found.codec} {found.pixel_format} at {found.fps_hz:g} Hz, constant: {found.is_constant_rate}"
            raise ValueError(f"{name}: only h264 at constant {self.fps_hz:g} Hz is copied, {path} is {got}")
        self._require_size(found.height_px, found.width_px, name)
        self.close()
        copy_stream(path, self._next_path())
        self._pixel_format = found.pixel_format
        return self._place(0.0, found.num_frames, read_frames(path, [found.start_s], 1e-3))

    def _place(self, from_s: float, num_frames: int, samples_THWC: np.ndarray) -> Place:
        chunk_index, file_index = divmod(self._num_files - 1, schema.FILES_PER_CHUNK)
        return Place(
            chunk_index=chunk_index,
            file_index=file_index,
            from_s=from_s,
            num_frames=num_frames,
            fps_hz=self.fps_hz,
            stats=stats.of_video(samples_THWC),
        )

    def _require_size(self, height_px: int, width_px: int, name: str) -> None:
        self._size_px = self._size_px or (height_px, width_px)
        if (height_px, width_px) != self._size_px:
            wanted = f"{self._size_px[0]}x{self._size_px[1]}"
            raise ValueError(f"{name}: {self.view} is {height_px}x{width_px} px, earlier episodes have {wanted}")

    def _next_path(self) -> Path:
        chunk_index, file_index = divmod(self._num_files, schema.FILES_PER_CHUNK)
        self._num_files += 1
        relative = schema.VIDEO_PATH.format(video_key=self.key, chunk_index=chunk_index, file_index=file_index)
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def close(self) -> None:
        """Finish the open file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def info(self) -> dict[str, Any]:
        """Entry of info.json."""
        assert self._size_px is not None
        height_px, width_px = self._size_px
        video = {
            "video.height": height_px,
            "video.width": width_px,
            "video.codec": "h264",
            "video.pix_fmt": self._pixel_format,
            "video.is_depth_map": False,
            "video.fps": self.fps_hz,
            "video.channels": 3,
            "has_audio": False,
        }
        names = ["height", "width", "channels"]
        return {"dtype": "video", "shape": [height_px, width_px, 3], "names": names, "info": video}
