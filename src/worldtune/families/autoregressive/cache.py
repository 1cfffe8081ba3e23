"""What cached generation keeps: keys and values of all rows so far, and of the text.

Buffers have a fixed size and place, so a step of decoding has the same shapes at every row.

Shape legend: B batch, K key heads, S rows, L text rows of all views, E head width, 1 the row being decoded.
"""

from dataclasses import dataclass

from torch import Tensor

SPAN_MULTIPLE = 64
"""Attention reads the buffers up to a multiple of this, so shapes change rarely as the sequence grows."""


@dataclass(frozen=True, kw_only=True)
class LayerCache:
    """Buffers of one block, filled in place."""

    keys_BKSE: Tensor
    values_BKSE: Tensor
    text_keys_values: tuple[Tensor, Tensor] | None
    """Keys and values of the text, two [B, K, L, E]; None in a block without cross-attention."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Buffers of all blocks."""

    layers: list[LayerCache]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Which row is being decoded."""

    row_1: Tensor
    """Its number, int64 [1], on the network's device."""
    span: int
    """Rows of the buffers that attention reads; more than the row's number."""
    visible_1M: Tensor
    """bool [1, span]: True up to the row itself."""

    @staticmethod
    def at(row: int, index_S: Tensor) -> "Step":
        """The step for one row of a sequence; index_S is 0, 1, 2 ... for all its rows, on the network's device."""
        span = min(-(-(row + 1) // SPAN_MULTIPLE) * SPAN_MULTIPLE, len(index_S))
        row_1 = index_S[row : row + 1]
        return Step(row_1=row_1, span=span, visible_1M=index_S[None, :span] <= row_1)
