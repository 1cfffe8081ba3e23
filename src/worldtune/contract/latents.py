"""Latents as codecs make them, and as networks see them: with zero mean and unit variance in every channel.

Shape legend: T latent frames, H W latent grid, C channels.
"""

from dataclasses import dataclass

from torch import Tensor


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
