"""Write episodes as compressed npz shards: pixels without loss, for pre-training."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from worlds.record import Episode
from worldtune.contract.files import write_whole

EPISODES_PER_SHARD = 50


def write_shards(episodes: Iterable[Episode], folder: Path) -> int:
    """Write shard_00000.npz, shard_00050.npz, ..., named by their first episode; each appears whole or not at all.

    A shard holds `video` uint8 [N, V, T, H, W, 3] and every recorded array with a leading N.
    Returns the number of episodes.
    """
    total, stream = 0, iter(episodes)
    for batch in _batches(stream):
        path = folder / f"shard_{batch[0].seed[1]:05d}.npz"
        with write_whole(path) as temporary:
            np.savez_compressed(temporary, **stack(batch))
        total += len(batch)
    return total


def _batches(stream: Iterator[Episode]) -> Iterator[list[Episode]]:
    while batch := list(islice(stream, EPISODES_PER_SHARD)):
        yield batch


def stack(batch: list[Episode]) -> dict[str, Any]:
    """The arrays of one shard."""
    arrays = {
        "video": np.stack([episode.video_VTHWC for episode in batch]),
        "captions": np.array([episode.caption for episode in batch]),
        "instructions": np.array([episode.instruction for episode in batch]),
        "views": np.array(batch[0].views),
        "fps_hz": np.array([episode.fps_hz for episode in batch]),
        "seeds": np.array([episode.seed for episode in batch]),
    }
    for name in batch[0].features:
        arrays[name] = np.stack([episode.features[name] for episode in batch])
    for name in batch[0].camera_features:
        arrays[name] = np.stack([episode.camera_features[name] for episode in batch])
    return arrays
