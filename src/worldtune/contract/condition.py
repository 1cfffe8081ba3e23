"""Condition: the closed set of carriers by which any control reaches any family.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels, L text tokens, D width, K numbers of a
trajectory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

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
class Released:
    """What networks know from their own pre-training, and read besides the carriers; others leave it out.

    A control gives it whether or not the network has a place for it, and it does not start at zero.
    """

    camera_BV: Tensor | None = None
    """int64: which of the network's cameras each view is. None: in order."""
    frame_repeat_BV: Tensor | None = None
    """How often frames of a camera were repeated, divided by 10. None: never."""
    trajectory_BK: Tensor | None = None
    """The way ahead from the first frame, point after point, in the units of the released models; zeros: unknown."""

    @staticmethod
    def join(parts: Sequence["Released"]) -> "Released":
        """What any of them says; two must not say the same thing."""
        said: dict[str, Tensor] = {}
        for one in fields(Released):
            found = [value for part in parts if (value := getattr(part, one.name)) is not None]
            assert len(found) <= 1, f"two controls give {one.name}"
            if found:
                said[one.name] = found[0]
        return Released(**said)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What controls say about a batch, in words every family knows.

    An axis V, T, H or W of size 1 is shared: what it holds is the same for all. Families lay it out with `on_grid`.
    """

    text_BVLD: Tensor | None = None
    """Text tokens, each view sees its own; zero rows are padding."""
    frame_BVTD: Tensor | None = None
    """One vector per latent frame."""
    dense_BVTHWC: Tensor | None = None
    """One vector per latent cell."""
    released: Released = field(default_factory=Released)

    @staticmethod
    def join(parts: Sequence["Condition"]) -> "Condition":
        """Lay several controls side by side: text along L, frame and dense along channels."""

        def cat(tensors: list[Tensor | None], dim: int) -> Tensor | None:
            present = [tensor.movedim(dim, -1) for tensor in tensors if tensor is not None]
            if not present:
                return None
            shared = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in present))
            return torch.cat([tensor.expand(*shared, -1) for tensor in present], -1).movedim(-1, dim)

        return Condition(
            text_BVLD=cat([part.text_BVLD for part in parts], 2),
            frame_BVTD=cat([part.frame_BVTD for part in parts], -1),
            dense_BVTHWC=cat([part.dense_BVTHWC for part in parts], -1),
            released=Released.join([part.released for part in parts]),
        )

    def on_grid(self, views: int, frames: int, height: int, width: int) -> "Condition":
        """The same with every shared axis laid out, without copies. Axes of another size stay as they are."""

        def laid(tensor: Tensor | None, sizes: tuple[int, ...]) -> Tensor | None:
            if tensor is None:
                return None
            pairs = zip(tensor.shape[1:-1], sizes, strict=True)
            return tensor.expand(tensor.shape[0], *(size if got == 1 else got for got, size in pairs), -1)

        return Condition(
            text_BVLD=laid(self.text_BVLD, (views, -1)),
            frame_BVTD=laid(self.frame_BVTD, (views, frames)),
            dense_BVTHWC=laid(self.dense_BVTHWC, (views, frames, height, width)),
            released=self.released,
        )

    def of_views(self, chosen: Sequence[int]) -> "Condition":
        """Some views of it; an axis that is shared stays shared."""

        def part(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or tensor.shape[1] == 1 else tensor[:, list(chosen)]

        return Condition(
            text_BVLD=part(self.text_BVLD),
            frame_BVTD=part(self.frame_BVTD),
            dense_BVTHWC=part(self.dense_BVTHWC),
            released=Released(
                camera_BV=part(self.released.camera_BV),
                frame_repeat_BV=part(self.released.frame_repeat_BV),
                trajectory_BK=self.released.trajectory_BK,
            ),
        )

    @property
    def widths(self) -> Widths:
        """Channels of each carrier present."""
        return Widths(
            text=0 if self.text_BVLD is None else self.text_BVLD.shape[-1],
            frame=0 if self.frame_BVTD is None else self.frame_BVTD.shape[-1],
            dense=0 if self.dense_BVTHWC is None else self.dense_BVTHWC.shape[-1],
        )
