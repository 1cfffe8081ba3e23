"""How controls enter. Every output starts at zero, so the conditioned network equals its base at step 0.

What a control says about a cell enters where that cell is predicted (see `layout`), never where it stands.

Shape legend: B batch, V views, T latent frames, F = T V frames of single views, H W latent grid, N cells, S rows,
C channels, D width, P blocks, O = P D.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.families.autoregressive.layout import Layout

GAIN = 8.0
"""Factor on every output. An optimizer like Adam moves each weight by about the learning rate in a step, however small
its gradient; what starts at zero must go further than what the base has learned already, in a few hundred steps."""
MOST_HIDDEN = 1024
"""Width of the frame carrier's hidden layer, if the network is wider."""
MAX_VIEWS = 8
"""Cameras that can be told apart."""


def embedding_table(rows: int, width: int) -> nn.Embedding:
    """A table with no values yet: drawing normal numbers on the meta device takes torch seconds to set up."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


class FrameInjection(nn.Module):
    """One vector per latent frame, added to all its cells before every block, each time another one.

    Made from a hidden layer and the numbers as they are. Told once, a control is heard less
    (`docs/injection.md`): what is added to embeddings competes with what the tokens themselves say.
    """

    def __init__(self, channels: int, width: int, num_blocks: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, min(width, MOST_HIDDEN))
        self.out = nn.Linear(self.hidden.out_features + channels, num_blocks * width)
        self.num_blocks = num_blocks

    def reset_parameters(self) -> None:
        """Default hidden layer, zero output."""
        self.hidden.reset_parameters()
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, frame_BVTC: Tensor) -> Tensor:
        """What to add before each block to the rows that predict a frame of a view, [P,B,F+1,D], T before V.

        The last one is zero, for rows that predict nothing.
        """
        frame_BFC = frame_BVTC.transpose(1, 2).flatten(1, 2)
        out_BFO = GAIN * self.out(torch.cat([F.gelu(self.hidden(frame_BFC)), frame_BFC], -1))
        return F.pad(out_BFO.unflatten(-1, (self.num_blocks, -1)).permute(2, 0, 1, 3), (0, 0, 0, 1))


class DenseInjection(nn.Module):
    """One vector per latent cell."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, width, bias=False)

    def reset_parameters(self) -> None:
        """Zero."""
        nn.init.zeros_(self.proj.weight)

    def forward(self, dense_BVTHWC: Tensor, layout: Layout) -> Tensor:
        """What to add to the cells, [B, N, D]."""
        return layout.to_sequence(GAIN * self.proj(dense_BVTHWC))


class ViewEmbedding(nn.Module):
    """Tells from which camera a token is: the only thing that is added at the token's own row.

    Views tell themselves apart by a dense control, so the network has this table when it has a dense carrier.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = embedding_table(MAX_VIEWS, width)

    def reset_parameters(self) -> None:
        """Zero."""
        nn.init.zeros_(self.table.weight)

    def forward(self, layout: Layout, camera_BV: Tensor | None) -> Tensor:
        """[B or 1, S, D]. camera: which row of the table each view has; None: in order.

        ValueError for more views than there are rows in the table.
        """
        most = layout.views if camera_BV is None else int(camera_BV.max()) + 1
        if most > MAX_VIEWS:
            raise ValueError(f"the network tells {MAX_VIEWS} views apart, got {most}")
        if camera_BV is None:
            camera_BV = torch.arange(layout.views, device=self.table.weight.device)[None]
        cells_BN = camera_BV[:, layout.view_of_cell(camera_BV.device)]
        return layout.at_own_rows(self.table(cells_BN))
