"""The order of a clip's cells in the sequence, and who predicts whom.

Time-major: latent frame after latent frame, within a frame view after view, within a view row by row. So all views of
a moment come before the next moment. Row i of a sequence holds a token and predicts the token of row i + 1: what a
control says about a cell must enter at the row before it, its *predictor*.

Shape legend: B batch, V views, T latent frames, H W latent grid, N = T V H W cells, S = N + begin rows, C channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes of one sequence."""

    views: int
    frames: int
    height: int
    width: int
    num_begin: int
    """Rows before the first cell, 0 or 1."""

    @property
    def cells_per_frame(self) -> int:
        """Cells of one latent frame, all views."""
        return self.views * self.height * self.width

    @property
    def num_cells(self) -> int:
        """N."""
        return self.frames * self.cells_per_frame

    @property
    def num_rows(self) -> int:
        """S."""
        return self.num_cells + self.num_begin

    def to_sequence(self, grid_BVTHW: Tensor) -> Tensor:
        """[B, V, T, H, W, ...] -> [B, N, ...]."""
        return grid_BVTHW.transpose(1, 2).flatten(1, 4)

    def to_grid(self, cells_BN: Tensor) -> Tensor:
        """[B, N, ...] -> [B, V, T, H, W, ...]."""
        return cells_BN.unflatten(1, (self.frames, self.views, self.height, self.width)).transpose(1, 2)

    def at_own_rows(self, cells_BN: Tensor) -> Tensor:
        """[..., N, C] -> [..., S, C]: what belongs to a row's own cell; the begin token has none, zeros."""
        return F.pad(cells_BN, (0, 0, self.num_begin, 0))

    def at_predictors(self, cells_BN: Tensor) -> Tensor:
        """[..., N, C] -> [..., S, C]: what belongs to the cell that a row predicts; zeros at the last row.

        Without a begin token nobody predicts the first cell.
        """
        return F.pad(cells_BN[..., 1 - self.num_begin :, :], (0, 0, 0, 1))

    def told_of_row(self, device: torch.device | str = "cpu") -> Tensor:
        """Which frame of a single view, T before V, holds the cell that each row predicts; T V at the last. [S]."""
        cells_S = torch.arange(1 - self.num_begin, self.num_cells + 1, device=device)
        return cells_S // (self.height * self.width)

    def view_of_cell(self, device: torch.device | str = "cpu") -> Tensor:
        """View of every cell, int64 [N]."""
        return torch.arange(self.num_cells, device=device) // (self.height * self.width) % self.views
