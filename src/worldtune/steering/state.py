"""What a session starts from, how it goes on, and what it keeps between chunks.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from worldtune.steering.take import Features

TOKENS, FRAMES = "tokens", "frames"
"""What may pass from one window to the next."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a session starts from."""

    frames_VTHWC: np.ndarray
    """uint8, 1 + r k frames; the last ones become the context."""
    features: Features
    """Recorded signals of these frames, [T,...] or [V,T,...] for features of cameras."""
    texts: tuple[str, ...]
    """One per view."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a session goes on, in latent frames."""

    window: int
    """Seen at once, at most: what the run was trained on."""
    context: int = 1
    """The last ones made, from which a new window starts."""
    chunk: int = 1
    """Made by one step."""
    lookahead: int = 0
    """Made beyond the chunk and thrown away, so that a network sees windows as long as in training."""
    carry: str = FRAMES
    """"tokens": the context of a new window is the tokens that were made, bit for bit. "frames": it is the frames that
    were shown, encoded anew, as latents must be: what the first one holds differs from the later ones."""

    def __post_init__(self) -> None:
        if self.context < 1 or self.chunk < 1 or self.lookahead < 0:
            raise ValueError(f"steering: context and chunk must be at least 1, lookahead at least 0, got {self}")
        if self.context + self.chunk > self.window:
            raise ValueError(
                f"steering: context {self.context} and chunk {self.chunk} do not fit into the window of "
                f"{self.window} latent frames that the run was trained on"
            )
        if self.carry not in (TOKENS, FRAMES):
            raise ValueError(f"steering: carry must be {TOKENS} or {FRAMES}, got {self.carry!r}")


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything that the next chunk depends on, besides the seed. Never changed in place."""

    target: Tensor
    """The newest normalised latents [V,T,H,W,C] or tokens [V,T,H,W], at most a window of them. Those before the
    context are there for the decoder, which looks back."""
    known: int
    """How many of them, the last ones, the network sees."""
    frames_VTHWC: np.ndarray
    """What was shown of the latent frames that the network sees."""
    features: Features
    """Of the same frames."""
    texts: tuple[str, ...]
    number: int = 0
    """Chunks made since the start."""

    @property
    def context(self) -> Tensor:
        """What the network sees of the past, bit for bit."""
        return self.target[:, -self.known :]
