"""Latents: on which grid codecs make them, and as networks see them, with zero mean and unit variance per channel.

Shape legend: T latent frames, H W latent grid, C channels.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from worldtune.contract.nouns import Grid


@dataclass(frozen=True)
class Normalisation:
    """Statistics of raw latents, one row per latent frame, as `Codec.statistics` gives and a cache keeps them."""

    mean_TC: Tensor
    std_TC: Tensor

    def normalised(self, raw: Tensor) -> Tensor:
        """Raw latents [..., T,H,W,C] -> what a network models, float32."""
        return (raw.float() - _spread(self.mean_TC, raw)) / _spread(self.std_TC, raw)

    def raw(self, normalised: Tensor) -> Tensor:
        """What a network made, [..., T,H,W,C] -> latents to decode."""
        return normalised * _spread(self.std_TC, normalised) + _spread(self.mean_TC, normalised)


def _spread(rows_TC: Tensor, like: Tensor) -> Tensor:
    """[T,1,1,C] on the device of `like`."""
    return rows_TC[:, None, None].to(like.device)


class Compression(Protocol):
    """A codec, or its configuration."""

    @property
    def frames_per_latent(self) -> int:
        """Pixel frames of every latent frame but the first."""
        ...

    @property
    def pixels_per_latent(self) -> int:
        """Along height and width."""
        ...


def latent_grid(by: Compression, *, views: int, frames: int, height_px: int, width_px: int) -> Grid:
    """The latent grid of a clip. ValueError unless frames = 1 + r k and both sides divide by the patch."""
    r, p = by.frames_per_latent, by.pixels_per_latent
    if views < 1:
        raise ValueError(f"a clip has at least 1 view, got {views}")
    if frames < 1 or (frames - 1) % r:
        legal = 1 + r * max(0, (frames - 1) // r)
        raise ValueError(f"num_frames must be 1 + {r} k for this codec, got {frames}; use {legal} or {legal + r}")
    for name, size_px in (("height", height_px), ("width", width_px)):
        if size_px < p or size_px % p:
            legal = max(p, size_px // p * p)
            raise ValueError(f"{name} must be a multiple of {p} px, got {size_px}; use {legal} or {legal + p}")
    return Grid(
        views=views,
        frames=1 + (frames - 1) // r,
        height=height_px // p,
        width=width_px // p,
        frames_per_latent=r,
        pixels_per_latent=p,
    )
