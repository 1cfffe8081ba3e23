"""Everything beside the token ids that a row of the sequence needs: its position, its controls, its text.

Made once per clip by `VideoTransformer.guide`, then read row by row while generating.

Shape legend: B batch, V views, S rows, N some of them, L text rows of all views, C channels, D width, E half a head,
F frames of single views, P blocks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.layout import Layout
from worldtune.families.autoregressive.positions import rotary_angles, sincos_positions


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All rows of a sequence, or those that a forward pass computes. Floats have the dtype of the activations."""

    cos_NE: Tensor
    sin_NE: Tensor
    absolute_ND: Tensor | None
    """Added before every block; None when the network has no absolute positions."""
    added_BND: Tensor | None
    """Added to the token embeddings by dense controls; None without."""
    told_PBFD: Tensor | None
    """Added by frame controls before each block to the rows of a frame of a view, see told_N; None without."""
    told_N: Tensor
    """Which F a row is told: that of the cell it predicts; int64."""
    text_BLC: Tensor | None
    """Text of all views, one after another. None is the same as zero text."""
    text_mask_NL: Tensor | None
    """bool: which text a row reads, that of the view it predicts. None with a single view."""

    def first(self, count: int) -> "Rows":
        """The leading rows."""
        return Rows(
            cos_NE=self.cos_NE[:count],
            sin_NE=self.sin_NE[:count],
            absolute_ND=None if self.absolute_ND is None else self.absolute_ND[:count],
            added_BND=None if self.added_BND is None else self.added_BND[:, :count],
            told_PBFD=self.told_PBFD,
            told_N=self.told_N[:count],
            text_BLC=self.text_BLC,
            text_mask_NL=None if self.text_mask_NL is None else self.text_mask_NL[:count],
        )


def position_tables(
    config: NetworkConfig, layout: Layout, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cosine, sine [S, E] and absolute embedding [S, D], restarting in every view; zero position at the begin token."""
    grid = (layout.frames, layout.height, layout.width)

    def rows(table_THWE: Tensor) -> Tensor:
        shape = (1, layout.views, *table_THWE.shape)
        return layout.at_own_rows(layout.to_sequence(table_THWE.expand(shape))[0])

    angles_SE = rows(rotary_angles(config, *grid, device))
    absolute = rows(sincos_positions(config.width, *grid, device)).to(dtype) if config.absolute_positions else None
    return angles_SE.cos().to(dtype), angles_SE.sin().to(dtype), absolute


def text_mask(layout: Layout, text_rows: int, device: torch.device) -> Tensor | None:
    """bool [S, V text_rows]: a row reads the text of the view whose cell it predicts. None with a single view."""
    if layout.views == 1:
        return None
    view_S1 = layout.at_predictors(layout.view_of_cell(device)[:, None])
    return view_S1 == torch.arange(layout.views * text_rows, device=device) // text_rows
