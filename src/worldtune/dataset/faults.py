"""Faults of a dataset that its schema does not show: damaged videos, numbers that are not finite, bad texts."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldtune.dataset.episode import text_fault
from worldtune.dataset.meta import EpisodeInfo
from worldtune.dataset.reader import Dataset
from worldtune.dataset.schema import CAMERA_PREFIX, CAPTIONS, INFO, TASKS
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
        # Errors of single files begin with the file's name already, those of a folder with that of a file in it.
        if self.rule.startswith(f"{self.file}/"):
            return self.rule
        return f"{self.file}:{episode}{field} {self.rule.removeprefix(f'{self.file}: ')}"


def find_faults(dataset: Dataset) -> Iterator[Fault]:
    """Look at every episode and every video file; videos are probed, not decoded."""
    yield from _text_faults(dataset)
    for episode in dataset.episodes:
        yield from _signal_faults(dataset, episode)
    episodes_in: defaultdict[tuple[str, Path], list[EpisodeInfo]] = defaultdict(list)
    for episode in dataset.episodes:
        for view, span in episode.videos.items():
            episodes_in[view, span.path].append(episode)
    for (view, path), episodes in episodes_in.items():
        yield from _video_faults(dataset, view, path, episodes)


def _text_faults(dataset: Dataset) -> Iterator[Fault]:
    """One fault per text, where it stands: a task of many episodes, or the caption of one camera of an episode."""
    for index, task in enumerate(dataset.tasks):
        if rule := text_fault(task):
            rule = f"{rule} here and in meta/episodes, which repeats it"
            yield Fault(file=dataset.folder / TASKS, field=f"task_index {index}", rule=rule)
    for episode in dataset.episodes:
        for view, text in zip(dataset.views, episode.texts, strict=True):
            if text not in dataset.tasks and (rule := text_fault(text)):
                path = dataset.folder / "meta/episodes"
                yield Fault(file=path, episode=episode.index, field=f"{CAPTIONS}{view}", rule=rule)


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


def _video_faults(dataset: Dataset, view: str, path: Path, episodes: Sequence[EpisodeInfo]) -> Iterator[Fault]:
    """One fault for a file that cannot be used, however many episodes lie in it; else one per episode cut off."""
    field = dataset.info.video_keys[view]
    try:
        found = probe(path)
        rule = _file_rule(dataset, view, found)
    except ValueError as error:
        rule = str(error).removeprefix(f"{path}: ")
    if rule and len(episodes) == 1:
        yield Fault(file=path, episode=episodes[0].index, field=field, rule=rule)
        return
    if rule:
        taken = f"{len(episodes)} episodes lie in it, {episodes[0].index} to {episodes[-1].index}"
        yield Fault(file=path, field=field, rule=f"{rule}; {taken}")
        return
    last_s = found.start_s + found.duration_s - 1 / found.fps_hz
    for episode in episodes:
        wanted_s = episode.videos[view].from_s + (episode.length - 1) / dataset.fps_hz
        if wanted_s > last_s + 0.5 / dataset.fps_hz:
            rule = f"too short: the episode ends at {wanted_s:.3f} s, the last frame of the file is at {last_s:.3f} s"
            yield Fault(file=path, episode=episode.index, field=field, rule=rule)


def _file_rule(dataset: Dataset, view: str, found: VideoInfo) -> str | None:
    height_px, width_px = dataset.info.sizes_px[view]
    if (found.height_px, found.width_px) != (height_px, width_px):
        return f"frames are {found.height_px}x{found.width_px} px, {INFO} says {height_px}x{width_px}"
    if abs(found.fps_hz / dataset.fps_hz - 1) > 0.01:
        return f"has {found.fps_hz:g} frames per second, {INFO} says {dataset.fps_hz:g}"
    return None
