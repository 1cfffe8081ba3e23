"""Episode: one recording, on its way from a foreign layout or a simulator into a dataset.

Shape legend: V views (cameras), T frames, H W rows and columns, C channels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One recording: cameras, texts and signals."""

    name: str
    """Where it comes from; error messages use it."""
    videos: Mapping[str, np.ndarray | Path]
    """By camera name, in the order of the view axis: uint8 [T,H,W,3], or a constant-rate h264 file to be copied."""
    fps_hz: float
    """Frames per second of the videos and of the signals."""
    texts: str | tuple[str, ...]
    """One caption or instruction, or one per view."""
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Signals at the frames: [T,...]; names that start with "camera." hold one value per view: [V,T,...]."""
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    """What holds for the whole recording, e.g. the seed of a simulation."""

    @property
    def views(self) -> tuple[str, ...]:
        """Camera names."""
        return tuple(self.videos)

    @property
    def texts_per_view(self) -> tuple[str, ...]:
        """One text per view. ValueError when there are neither one nor V of them."""
        texts = (self.texts,) * len(self.videos) if isinstance(self.texts, str) else tuple(self.texts)
        if len(texts) != len(self.videos):
            raise ValueError(f"{self.name}: {len(texts)} texts for {len(self.videos)} cameras; give one, or one each")
        return texts


MAX_TEXT_CHARACTERS = 4000
"""Text encoders read 512 tokens, about 2,500 characters: the rest of a longer text would be lost in silence."""


def text_fault(text: str) -> str | None:
    """What is wrong with a caption or instruction, or None. An empty one is fine here: it means "no caption"."""
    if len(text) > MAX_TEXT_CHARACTERS:
        return f"the caption has {len(text)} characters, at most {MAX_TEXT_CHARACTERS} are allowed; shorten it"
    return None


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the reader of a foreign layout returns: `layouts.<name>.read(folder, ...)`."""

    episodes: Iterable[Episode]
    """Read while the dataset is written, one at a time."""
    num_episodes: int
    """How many these are."""
    fps_hz: float
    splits: Mapping[str, str] | None = None
    """Ranges of episodes, {"train": "0:40", "val": "40:50"}; None: the layout has no splits."""
