"""Faults of a dataset that its schema does not show: damaged videos, numbers that are not finite, bad texts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldtune.dataset.episode import text_fault
from worldtune.dataset.meta import EpisodeInfo, VideoSpan
from worldtune.dataset.reader import Dataset
from worldtune.dataset.schema import CAMERA_PREFIX, INFO
from worldtune.video.read import VideoInfo, probe

_TIMESTAMP_TOLERANCE_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that must be repaired."""

    file: Path
    rule: str
    """What was got and what was wanted."""
    episode: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        episode = "" if self.episode is None else f" episode {self.episode}:"
        field = "" if self.field is None else f" {self.field}:"
        # Errors of single files begin with the file's name already.
        return f"{self.file}:{episode}{field} {self.rule.removeprefix(f'{self.file}: ')}"


def find_faults(dataset: Dataset) -> Iterator[Fault]:
    """Look at every episode; videos are probed, not decoded."""
    probed: dict[Path, VideoInfo | ValueError] = {}
    for episode in dataset.episodes:
        yield from _text_faults(dataset, episode)
        yield from _signal_faults(dataset, episode)
        for view, span in episode.videos.items():
            if span.path not in probed:
                probed[span.path] = _probed(span.path)
            if rule := _video_fault(dataset, episode, view, span, probed[span.path]):
                yield Fault(file=span.path, episode=episode.index, field=dataset.info.video_keys[view], rule=rule)


def _probed(path: Path) -> VideoInfo | ValueError:
    try:
        return probe(path)
    except ValueError as error:
        return error


def _text_faults(dataset: Dataset, episode: EpisodeInfo) -> Iterator[Fault]:
    for text in dict.fromkeys(episode.texts):
        if rule := text_fault(text):
            yield Fault(file=dataset.folder / "meta/tasks.parquet", episode=episode.index, field="task", rule=rule)


def _signal_faults(dataset: Dataset, episode: EpisodeInfo) -> Iterator[Fault]:
    try:
        signals = dataset.signals(episode.index)
        times_s = dataset.timestamps_s(episode.index)
    except ValueError as error:
        yield Fault(file=episode.data_path, episode=episode.index, rule=str(error))
        return
    for name, values in signals.items():
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            frame = int(bad[0][1 if name.startswith(CAMERA_PREFIX) else 0])
            rule = f"{len(bad)} values are missing, NaN or infinite, the first at frame {frame}"
            yield Fault(file=episode.data_path, episode=episode.index, field=name, rule=rule)
    late_s = np.abs(times_s - times_s[0] - np.arange(len(times_s)) / dataset.fps_hz)
    # Not <=, so that a missing timestamp is a fault too.
    if not late_s.max() <= _TIMESTAMP_TOLERANCE_S + 1e-6 * abs(times_s[-1]):
        rule = f"is {late_s.max():.4f} s off the uniform grid of {dataset.fps_hz:g} Hz that {INFO} states"
        yield Fault(file=episode.data_path, episode=episode.index, field="timestamp", rule=rule)


def _video_fault(
    dataset: Dataset, episode: EpisodeInfo, view: str, span: VideoSpan, found: VideoInfo | ValueError
) -> str | None:
    if isinstance(found, ValueError):
        return str(found)
    height_px, width_px = dataset.info.sizes_px[view]
    if (found.height_px, found.width_px) != (height_px, width_px):
        return f"frames are {found.height_px}x{found.width_px} px, {INFO} says {height_px}x{width_px}"
    last_s = found.start_s + found.duration_s - 1 / found.fps_hz
    wanted_s = span.from_s + (episode.length - 1) / dataset.fps_hz
    if wanted_s > last_s + 0.5 / dataset.fps_hz:
        return f"too short: the episode ends at {wanted_s:.3f} s, the last frame of the file is at {last_s:.3f} s"
    if abs(found.fps_hz / dataset.fps_hz - 1) > 0.01:
        return f"has {found.fps_hz:g} frames per second, {INFO} says {dataset.fps_hz:g}"
    return None
