"""Take: a piece of a steered session that is kept.

Shape legend: V views, T frames, H W rows and columns, C colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from worldtune.contract.steering import Axis

CAMERA_PREFIX = "camera."
"""Features that begin so have one value per view, [V,T,...]; others are [T,...]."""

Features: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Take:
    """Frames with what led to them."""

    number: int
    """Chunks made before its end, since the session's start."""
    frames_VTHWC: np.ndarray
    features: Features
    """Of these frames; in a piece of a session, row 0 is the frame before them."""
    commands: dict[str, np.ndarray]
    """By axis, [T]; empty when recorded features were followed. Of the frame to start from, only axes that hold."""
    texts: tuple[str, ...]


def newest(features: Features) -> Features:
    """Features of the last frame, without the frame axis."""
    return {name: value[:, -1] if name.startswith(CAMERA_PREFIX) else value[-1] for name, value in features.items()}


def last_frames(features: Features, frames: int) -> Features:
    """Features of the last `frames` frames."""
    return {
        name: value[:, -frames:] if name.startswith(CAMERA_PREFIX) else value[-frames:]
        for name, value in features.items()
    }


def joined(takes: Sequence[Take], axes: Sequence[Axis]) -> Take:
    """Pieces that follow each other as one take.

    The first piece is the frame to start from: axes that do not hold are at rest there. Every piece brings the
    features of the frame before it too, since commands may change them (an action leads from its frame to the next).
    """
    first, *others = takes
    features = {}
    for name, value in first.features.items():
        axis = 1 if name.startswith(CAMERA_PREFIX) else 0
        parts = [value, *(take.features[name] for take in others)]
        cut = [np.delete(part, -1, axis) for part in parts[:-1]]
        features[name] = np.concatenate([*cut, parts[-1]], axis)
    lengths = [take.frames_VTHWC.shape[1] for take in takes]
    commands = {
        axis.name: np.concatenate(
            [
                take.commands.get(axis.name, np.full(length, axis.rest))
                for take, length in zip(takes, lengths, strict=True)
            ]
        )
        for axis in axes
    }
    return Take(
        number=takes[-1].number,
        frames_VTHWC=np.concatenate([take.frames_VTHWC for take in takes], 1),
        features=features,
        commands=commands,
        texts=takes[-1].texts,
    )


def extended(features: Features, new: Features, frames: int) -> Features:
    """Features with `frames` more: new rows, which begin with the newest frame, or the last value held."""
    result = {}
    for name, value in features.items():
        axis = 1 if name.startswith(CAMERA_PREFIX) else 0
        length = value.shape[axis]
        if name in new:
            rows = np.take(new[name], range(frames + 1), axis)
            result[name] = np.concatenate([np.take(value, range(length - 1), axis), rows], axis)
        else:
            held = np.repeat(np.take(value, [length - 1], axis), frames, axis)
            result[name] = np.concatenate([value, held], axis)
    return result


def first_frames(features: Features, frames: int) -> Features:
    """The leading frames of all features."""
    return {
        name: value[:, :frames] if name.startswith(CAMERA_PREFIX) else value[:frames]
        for name, value in features.items()
    }
