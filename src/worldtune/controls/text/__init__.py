"""Text: a caption or an instruction, one per view, as rows of a frozen text encoder.

Shape legend: B batch, V views, L text tokens, D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Clip, Field, Grid

FIELDS: dict[str, Field] = {}
"""Texts are part of every dataset; no further feature is needed."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the text control."""

    dropout: float = 0.1
    """Share of training samples that see no text (all rows zero), so that guidance is defined. 0..1."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"control.text.dropout must be in 0..1, got {self.dropout}")


def align(clip: Clip, grid: Grid) -> dict[str, np.ndarray]:
    """Nothing to align: `prepare` stores the text encoder's rows as "text/tokens" [V,L,D]."""
    return {}


def encoder(example: dict[str, Tensor], config: Config) -> nn.Module:
    """Rows go to the family as they are."""
    return TextRows(width=example["tokens"].shape[-1])


class TextRows(nn.Module):
    """No parameters: the family's cross-attention is what learns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths = Widths(text=width)

    def forward(self, arrays: dict[str, Tensor], keep_B: Tensor) -> Condition:
        """tokens [B,V,L,D] -> Condition with text; a dropped text is zero rows, as in Cosmos."""
        rows_BVLD = arrays["tokens"].to(torch.float32)
        return Condition(text_BVLD=rows_BVLD * keep_B.to(rows_BVLD.dtype)[:, None, None, None])
