"""Rendered episodes for pre-training, as `python -m worlds render --format npz` wrote them.

Shape legend: N clips (views of multi-view episodes count on their own), T frames, H W pixels.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

WORLDS = ("tabletop", "rooms", "street")


def shards(folder: Path, split: str, world: str) -> list[Path]:
    """The npz files of one world's split. ValueError when there is none."""
    found = sorted((folder / world / split).glob("*.npz"))
    if not found:
        raise ValueError(f"{folder / world / split}: no npz shards; render them first, see nano/README.md")
    return found


def load_videos(folder: Path, split: str, world: str) -> Tensor:
    """uint8 [N,T,H,W,3]: every view is a clip."""
    arrays = [np.load(path)["video"] for path in shards(folder, split, world)]
    video_NVTHWC = np.concatenate(arrays)
    return torch.from_numpy(video_NVTHWC).flatten(0, 1)


def load_texts(folder: Path, split: str, world: str, key: str) -> list[str]:
    """One text per clip, in the order of `load_videos`; `key` is "captions" or "instructions"."""
    texts: list[str] = []
    for path in shards(folder, split, world):
        shard = np.load(path)
        views = shard["video"].shape[1]
        texts.extend(str(text) for text in shard[key] for _ in range(views))
    return texts
