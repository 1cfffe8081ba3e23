"""Camera poses of clips that were recorded without them, by structure from motion.

Shape legend: T frames.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

from worldtune.dataset import Episode, Source
from worldtune.dataset.structure import NotSolvedError, camera_motion, require_pycolmap
from worldtune.dataset.writer import split_of_episodes
from worldtune.stages.counter import Counter

_log = logging.getLogger(__name__)
POSES, LENS = "camera.world_from_camera", "camera.intrinsics"


def with_estimated_poses(read: Callable[[], Source], console: Console) -> Source:
    """The source with poses and lenses; episodes whose poses cannot be found are left out, with a warning each.

    read: opens the source; it is called twice, so that no video waits in memory. Lengths are of unknown scale, and
    every episode has its own. ValueError when pycolmap is missing, an episode has several cameras or poses already,
    or no episode is left.
    """
    require_pycolmap()
    first = read()
    solved: dict[int, dict[str, np.ndarray]] = {}
    count = first.num_episodes
    with Counter("finding camera poses", count, console) as counter:
        for index, episode in enumerate(first.episodes):
            try:
                solved[index] = _features(episode)
            except NotSolvedError as reason:
                _log.warning(f"{episode.name}: left out, its camera poses cannot be found: {reason}")
            counter.add(1)
    if not solved:
        raise ValueError(f"--estimate-poses: the camera poses of none of {count} clips can be found")
    console.print(f"camera poses found for {len(solved)} of {count} clips", highlight=False)
    again = read()
    splits = None if first.splits is None else _splits_of_kept(dict(first.splits), count, sorted(solved))
    return Source(episodes=_episodes(again, solved), num_episodes=len(solved), fps_hz=again.fps_hz, splits=splits)


def _features(episode: Episode) -> dict[str, np.ndarray]:
    if POSES in episode.features:
        raise ValueError(f"{episode.name}: has camera poses already; leave --estimate-poses out")
    if len(episode.videos) != 1:
        raise ValueError(f"{episode.name}: has {len(episode.videos)} cameras; --estimate-poses works for one")
    (video,) = episode.videos.values()
    with TemporaryDirectory() as scratch:
        world_from_camera_T44, lens_T4 = camera_motion(video, Path(scratch))
    return {POSES: world_from_camera_T44[None].astype(np.float32), LENS: lens_T4[None].astype(np.float32)}


def _episodes(source: Source, solved: dict[int, dict[str, np.ndarray]]) -> Iterator[Episode]:
    for index, episode in enumerate(source.episodes):
        if index in solved:
            facts = {**episode.facts, "poses": "estimated, scale unknown"}
            yield replace(episode, features={**episode.features, **solved[index]}, facts=facts)


def _splits_of_kept(splits: dict[str, str], count: int, kept: list[int]) -> dict[str, str]:
    """The same ranges after some episodes are left out; a split that lost all of its episodes goes."""
    of_episode = split_of_episodes(splits, count, "splits")
    ranges = {}
    for name in splits:
        places = [place for place, index in enumerate(kept) if of_episode.get(index) == name]
        if places:
            ranges[name] = f"{places[0]}:{places[-1] + 1}"
    return ranges
