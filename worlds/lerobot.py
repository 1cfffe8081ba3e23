"""Write episodes as a LeRobot v3 dataset."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from worlds.record import Episode
from worldtune import dataset

LOOKS_TOWARDS = {
    "front": "ahead",
    "left": "to the left",
    "right": "to the right",
    "rear_left": "back to the left",
    "rear_right": "back to the right",
    "back": "back",
}


def texts(episode: Episode, world: str) -> str | tuple[str, ...]:
    """The task of a clip: the instruction on the tabletop, else a caption that does not give the motion away.

    On the street every view has its own.
    """
    if world == "tabletop":
        return episode.instruction
    if world == "street":
        return tuple(f"{episode.caption}, looking {LOOKS_TOWARDS[view]}" for view in episode.views)
    return episode.caption


def to_dataset_episode(episode: Episode, world: str) -> dataset.Episode:
    """The same recording in the words of the dataset; caption, instruction and seed become facts."""
    num_frames = episode.video_VTHWC.shape[1]
    lens = episode.camera_features["camera.intrinsics"]
    cameras = episode.camera_features | {"camera.intrinsics": np.repeat(lens[:, None], num_frames, axis=1)}
    return dataset.Episode(
        name=f"{world} seed {episode.seed[0]} episode {episode.seed[1]}",
        videos=dict(zip(episode.views, episode.video_VTHWC, strict=True)),
        fps_hz=episode.fps_hz,
        texts=texts(episode, world),
        features=episode.features | cameras,
        facts={
            "caption": episode.caption,
            "instruction": episode.instruction,
            "seed": episode.seed[0],
            "seed_index": episode.seed[1],
        },
    )


def write(
    folder: Path, episodes: Iterable[Episode], *, world: str, fps_hz: float, splits: Mapping[str, int], crf: int
) -> int:
    """Write all splits, one after the other, into one dataset. splits: number of episodes by name, in order."""
    ranges, start = {}, 0
    for name, count in splits.items():
        ranges[name] = f"{start}:{start + count}"
        start += count
    converted: Iterator[dataset.Episode] = (to_dataset_episode(episode, world) for episode in episodes)
    # At 64 px halved colour planes would blur the small objects, hence yuv444p.
    dataset.write_dataset(folder, converted, fps_hz=fps_hz, splits=ranges, crf=crf, pixel_format="yuv444p")
    return start
