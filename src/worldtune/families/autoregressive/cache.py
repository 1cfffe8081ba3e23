"""What cached generation keeps: keys and values of all rows so far, and of the text.

Shape legend: P layers, B batch, K key heads, J = 2 K heads of keys, then of values, S rows, L text rows of all views,
E head width.
"""

from dataclasses import dataclass

from torch import Tensor


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

    both_PBJSE: Tensor
    """Keys and values of every block in one piece of memory."""
    layers: list[LayerCache]
    """The same by blocks."""
