"""Condition: the closed set of carriers by which any control reaches any family.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels, L text tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CARRIERS = frozenset({"text", "frame", "dense"})


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Channels that each carrier brings; 0 means the carrier is not used."""

    text: int = 0
    frame: int = 0
    dense: int = 0

    def __add__(self, other: "Widths") -> "Widths":
        """Widths of two conditions side by side. Text rows share one width, the rest adds up."""
        if self.text and other.text and self.text != other.text:
            raise ValueError(f"two controls bring text of different widths, {self.text} and {other.text}")
        return Widths(text=self.text or other.text, frame=self.frame + other.frame, dense=self.dense + other.dense)

    @property
    def carriers(self) -> frozenset[str]:
        """Names of the carriers in use."""
        return frozenset(name for name in CARRIERS if getattr(self, name) > 0)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What controls say about a batch, in words every family knows."""

    text_BVLD: Tensor | None = None
    """Text tokens, each view sees its own; zero rows are padding."""
    frame_BVTD: Tensor | None = None
    """One vector per latent frame."""
    dense_BVTHWC: Tensor | None = None
    """One vector per latent cell."""

    @staticmethod
    def join(parts: Sequence["Condition"]) -> "Condition":
        """Lay several controls side by side: text along L, frame and dense along channels."""

        def cat(tensors: list[Tensor | None], dim: int) -> Tensor | None:
            present = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(present, dim) if present else None

        return Condition(
            text_BVLD=cat([part.text_BVLD for part in parts], 2),
            frame_BVTD=cat([part.frame_BVTD for part in parts], -1),
            dense_BVTHWC=cat([part.dense_BVTHWC for part in parts], -1),
        )

    @property
    def widths(self) -> Widths:
        """Channels of each carrier present."""
        return Widths(
            text=0 if self.text_BVLD is None else self.text_BVLD.shape[-1],
            frame=0 if self.frame_BVTD is None else self.frame_BVTD.shape[-1],
            dense=0 if self.dense_BVTHWC is None else self.dense_BVTHWC.shape[-1],
        )
