"""Layout "videos": SOURCE/videos/*.mp4 with SOURCE/metas/*.txt, a caption per video with the same stem.

The layout of the Cosmos post-training guides for one's own clips.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from worldtune.dataset import Episode, Source
from worldtune.dataset.entries import caption, refuse_rate, warn_some
from worldtune.dataset.video_files import can_be_copied, fitted
from worldtune.video.read import VideoInfo, frame_times_s, probe
from worldtune.video.resample import nearest_frames, uniform_times_s

_log = logging.getLogger(__name__)
_SAME_RATE_TOLERANCE = 0.002


@dataclass(frozen=True)
class _Video:
    path: Path
    info: VideoInfo
    caption: str

    @property
    def rate_hz(self) -> float:
        """The constant rate, or the nearest whole rate of a video whose rate varies."""
        return self.info.fps_hz if self.info.is_constant_rate else float(max(1, round(self.info.fps_hz)))


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """Episodes in the order of file names. ValueError naming the first video or caption that cannot be used.

    The dataset gets the lowest frame rate among the videos, so that no frame is repeated, and the most frequent size;
    videos that differ are resampled, scaled and cut. Variable frame rates become constant by timestamps.
    """
    refuse_rate(fps_hz, "the video files")
    visible = (path for path in (source / "videos").glob("*") if not path.name.startswith("."))
    found = sorted(path for path in visible if not path.is_dir())
    paths = [path for path in found if path.suffix.lower() == ".mp4"]
    others = [path for path in found if path.suffix.lower() != ".mp4"]
    warn_some(others, len(found), f"files in {source / 'videos'} are not .mp4 and are left out")
    if not paths:
        raise ValueError(f"{source / 'videos'}: no mp4 files; the layout is SOURCE/videos/*.mp4, SOURCE/metas/*.txt")
    captions = [caption([source / "metas" / f"{path.stem}.txt"], path.name, allow_missing_captions) for path in paths]
    videos = [_Video(path, probe(path), text) for path, text in zip(paths, captions, strict=True)]
    rate_hz = min(video.rate_hz for video in videos)
    size_px = Counter(_even_size_px(video.info) for video in videos).most_common(1)[0][0]
    _explain(videos, rate_hz, size_px)
    return Source(episodes=_episodes(videos, rate_hz, size_px), num_episodes=len(videos), fps_hz=rate_hz)


def _even_size_px(info: VideoInfo) -> tuple[int, int]:
    """(height, width) that h264 can hold with halved colour resolution."""
    return info.height_px // 2 * 2, info.width_px // 2 * 2


def _explain(videos: list[_Video], fps_hz: float, size_px: tuple[int, int]) -> None:
    def warn(concerned: list[_Video], what: str) -> None:
        if concerned:
            _log.warning(f"{len(concerned)} of {len(videos)} videos {what}, e.g. {concerned[0].path}")

    warn(
        [video for video in videos if not video.info.is_constant_rate],
        f"have a variable frame rate and are resampled to a constant {fps_hz:g} Hz",
    )
    warn(
        [video for video in videos if video.info.is_constant_rate and not _is_same_rate(video, fps_hz)],
        f"are faster than the slowest one and are resampled to its {fps_hz:g} Hz",
    )
    warn(
        [video for video in videos if (video.info.height_px, video.info.width_px) != size_px],
        f"differ from the most frequent size and are scaled and cut to {size_px[0]}x{size_px[1]} px",
    )


def _is_same_rate(video: _Video, fps_hz: float) -> bool:
    return video.info.is_constant_rate and abs(video.info.fps_hz / fps_hz - 1) < _SAME_RATE_TOLERANCE


def _episodes(videos: list[_Video], fps_hz: float, size_px: tuple[int, int]) -> Iterator[Episode]:
    with TemporaryDirectory() as scratch:
        for video in videos:
            clip, times_s = Path(scratch) / "clip.mp4", _chosen_times_s(video, fps_hz)
            path = fitted(video.path, video.info, clip, fps_hz=fps_hz, size_px=size_px, times_s=times_s)
            yield Episode(name=video.path.name, videos={"main": path}, fps_hz=fps_hz, texts=video.caption)


def _chosen_times_s(video: _Video, fps_hz: float) -> np.ndarray | None:
    """Times of the frames that the dataset shows; None for all."""
    if _is_same_rate(video, fps_hz) or can_be_copied(video.info, fps_hz):
        return None
    times_s = frame_times_s(video.path)
    return times_s[nearest_frames(times_s, uniform_times_s(times_s, fps_hz))]
