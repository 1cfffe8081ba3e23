"""The things that travel between rooms.

Shape legend: B batch, V views, T frames (pixel frames in a Clip, latent frames in a Grid or Batch), H W rows and
columns, C channels, L text tokens, D width.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Field:
    """One feature that a control reads from a dataset."""

    shape: tuple[int | str, ...]
    """Per-frame shape; a name instead of a number means any size."""
    unit: str
    """Unit of the values: "m", "rad", "px", "1" ..."""
    per_view: bool = False
    """True when every camera has its own value."""
    optional: bool = False
    """True when a clip without it can still be used."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A window of raw video with everything that was recorded beside it."""

    id: str
    """Unique and stable: dataset, episode and first frame."""
    video_VTHWC: np.ndarray
    """uint8 RGB, one entry per view."""
    fps_hz: float
    """Frames per second of the window as it is, after resampling."""
    views: tuple[str, ...]
    """Camera names, in the order of the view axis."""
    texts: tuple[str, ...]
    """One caption or instruction per view."""
    features: dict[str, np.ndarray] = field(default_factory=dict)
    """Recorded signals, [T, ...], or [V, T, ...] for features of a camera, at the frames of the window."""

    def __post_init__(self) -> None:
        if self.video_VTHWC.ndim != 5 or self.video_VTHWC.dtype != np.uint8:
            raise ValueError(
                f"clip {self.id}: video must be uint8 [V,T,H,W,3], "
                f"got {self.video_VTHWC.dtype} {self.video_VTHWC.shape}"
            )
        if not len(self.views) == len(self.texts) == self.video_VTHWC.shape[0]:
            raise ValueError(
                f"clip {self.id}: {len(self.views)} view names and {len(self.texts)} texts for "
                f"{self.video_VTHWC.shape[0]} views of video"
            )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The latent grid of one clip."""

    views: int
    frames: int
    height: int
    width: int
    frames_per_latent: int
    """Pixel frames that one latent frame covers (r). Latent 0 is pixel frame 0, latent k is frames (k-1)r+1 .. kr."""
    pixels_per_latent: int
    """Pixels per latent cell along height and width."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(V, T, H, W)."""
        return self.views, self.frames, self.height, self.width

    @property
    def num_pixel_frames(self) -> int:
        """Pixel frames of one view: 1 + (T - 1) r."""
        return 1 + (self.frames - 1) * self.frames_per_latent


@dataclass(kw_only=True)
class Batch:
    """What one training step or one generation sees."""

    target: Tensor
    """Normalised latents, float [B,V,T,H,W,C] with unit variance per channel; or token ids, int [B,V,T,H,W]."""
    controls: dict[str, dict[str, Tensor]]
    """Aligned arrays of each control by name, each with leading axes [B, ...]."""
    fps_hz_B: Tensor
    """Frame rate of the pixel clip."""
    clip_ids: tuple[str, ...]
    num_observed_B: Tensor | None = None
    """Leading latent frames that are given. None in training: the objective draws it."""
    observed_BVT: Tensor | None = None
    """bool: latent frames of single views that are given, e.g. all of the first camera. It goes before num_observed_B;
    None gives the same leading frames of every view."""

    def given_BVT(self) -> Tensor | None:
        """bool [B,V,T]: which latent frames are given. None when the batch does not say."""
        if self.observed_BVT is not None:
            return self.observed_BVT
        return None if self.num_observed_B is None else leading(self.num_observed_B, self.target)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(
            target=self.target.to(device),
            controls={n: {k: v.to(device) for k, v in arrays.items()} for n, arrays in self.controls.items()},
            fps_hz_B=self.fps_hz_B.to(device),
            clip_ids=self.clip_ids,
            num_observed_B=None if self.num_observed_B is None else self.num_observed_B.to(device),
            observed_BVT=None if self.observed_BVT is None else self.observed_BVT.to(device),
        )

    def of_views(self, chosen: Sequence[int]) -> "Batch":
        """Some views of the targets. The controls stay those of all views, for they are encoded before."""
        observed_BVT = None if self.observed_BVT is None else self.observed_BVT[:, list(chosen)]
        return replace(self, target=self.target[:, list(chosen)], observed_BVT=observed_BVT)

    @property
    def size(self) -> int:
        """B."""
        return self.target.shape[0]


def leading(num_B: Tensor, target: Tensor) -> Tensor:
    """bool [B,V,T] on the target's device: True for the first num_B latent frames of every view."""
    views, frames = target.shape[1:3]
    is_first_BT = torch.arange(frames, device=target.device) < num_B.to(target.device)[:, None]
    return is_first_BT[:, None].expand(-1, views, -1)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What became of every tensor when a checkpoint was loaded into a network."""

    matched: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """In the network, not in the file, and explained by nothing: an error."""
    unexpected: tuple[str, ...] = ()
    """In the file, not in the network: an error."""
    reshaped: tuple[str, ...] = ()
    """Grown for a requested control: old columns kept, new columns zero."""
    new_and_zero: tuple[str, ...] = ()
    """Belongs to a requested control and starts with a zero output."""
    ignored: tuple[str, ...] = ()
    """Known by-products of the file format, e.g. position indices that are recomputed."""

    @classmethod
    def of(cls, wanted: Collection[str], given: Collection[str]) -> "Coverage":
        """Of names in the network and in a file that must fit exactly."""
        return cls(
            matched=tuple(name for name in wanted if name in given),
            missing=tuple(name for name in wanted if name not in given),
            unexpected=tuple(name for name in given if name not in wanted),
        )

    def __str__(self) -> str:
        counts = {name: len(value) for name, value in vars(self).items()}
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())

    def require_complete(self, source: str) -> None:
        """Raise ValueError unless every difference is one that the requested controls explain."""
        problems: list[Any] = []
        for kind in ("missing", "unexpected"):
            keys = getattr(self, kind)
            if keys:
                problems.append(f"{len(keys)} {kind} tensors, e.g. {', '.join(keys[:3])}")
        if problems:
            raise ValueError(f"{source}: weights do not fit the network: {'; '.join(problems)} ({self})")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a room wants of the probe that reads its control from a video."""

    in_deviations: bool = False
    """Numbers in units of their standard deviation over the training clips, NaN where one never varies there."""
    by_view: bool = False
    """`targets` are [V,D], one row for each view and said of the clip as a whole, which the probe sees at once: what is
    read has two rows, the second one counts. Views that are told different things are read one by one."""
    names: bool = False
    """What is read is compared with all commands there are: `errors` gets them as a fourth argument."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a number is called and read."""

    label: str
    better: str
    """"higher" or "lower"."""
    decimals: int
    """How many decimals are worth printing."""
    meaning: str
    """One sentence for somebody who reads the report only."""
