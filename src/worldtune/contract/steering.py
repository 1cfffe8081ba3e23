"""Steering: how a person's or a script's commands become recorded signals, for rooms of controls that can be driven.

A room offers `controls/<name>/steering.py` with the attributes of `Steering`. It answers in dataset features, so that
the room's own `align` puts them on the latent grid exactly as in training, and a steered session can be saved as an
episode.

Shape legend: V views, T frames, N columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One number that is commanded for every pixel frame."""

    name: str
    """Says what a positive value does: "turn_right"."""
    unit: str
    low: float
    """Commands are cut to low..high: the range that the training clips show."""
    high: float
    rest: float = 0.0
    """The value while nothing is commanded."""
    holds: bool = False
    """True: the value stays where it was put, e.g. how far a gripper is open; see `Holds`. False: it falls back to
    `rest`."""
    sweep_s: float = 0.6
    """How long a key that is held down takes an axis that holds from one end to the other."""
    keys: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Keys that push towards low and towards high, named as KeyboardEvent.code does: "KeyW", "ArrowLeft"."""
    stick: str = ""
    """Axis of a gamepad or of the on-screen sticks: "left-x", "left-y", "right-x", "right-y"; x right, y up."""
    stick_sign: int = 1
    """-1 when pushing the stick right or up commands `low`."""

    def __post_init__(self) -> None:
        assert self.low <= self.rest <= self.high, self

    def cut(self, value: float) -> float:
        """The nearest value that may be commanded."""
        return min(max(value, self.low), self.high)


class Steering(Protocol):
    """What `controls/<name>/steering.py` offers as module attributes."""

    COMMANDS: tuple[str, ...]
    """Dataset features that it makes. When one room makes all that another makes, the other is not steered."""

    def axes(self, recorded: Sequence[Mapping[str, np.ndarray]], fps_hz: float) -> tuple[Axis, ...]:
        """Axes with ranges from the features of some training episodes at the frame rate of clips.

        What never moves in training is no axis.
        """
        ...

    def extend(
        self, last: Mapping[str, np.ndarray], commands: Mapping[str, np.ndarray], fps_hz: float
    ) -> dict[str, np.ndarray]:
        """COMMANDS for T more frames, [T+1,...], or [V,T+1,...] for features of cameras.

        last: features of the newest frame there is, without the frame axis: [...] or [V,...]. Row 0 of the answer is
        that frame, which may change (an action leads from its frame to the next). commands: for each axis [T] numbers
        in its unit, one per new frame.
        """
        ...


@runtime_checkable
class Holds(Protocol):
    """What a steering module offers besides when some of its axes hold."""

    def held(self, last: Mapping[str, np.ndarray], axes: Sequence[Axis]) -> dict[str, float]:
        """How those of the axes stand that hold. last: as in `extend`; at a session's start it is what was recorded."""
        ...


@runtime_checkable
class Follows(Protocol):
    """What a steering module offers besides when it can read a whole way from a file."""

    def follow(
        self, path: Path, last: Mapping[str, np.ndarray], fps_hz: float
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """COMMANDS as `extend` gives them, as far as the file goes; and what it asks of each axis, [T].

        Raises ValueError naming file and line.
        """
        ...


def percentiles(values_TN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values that 2.5 % lie below and 2.5 % above, per column: [N] and [N]."""
    low_N, high_N = np.percentile(values_TN, [2.5, 97.5], axis=0)
    return low_N, high_N
