"""Fill a sequence token after token with a cache.

Shape legend: B batch, R = B or 2 B rows of the network (with guidance the null condition comes second), N cells,
S rows of the sequence, X vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from worldtune.families.autoregressive.decode_step import DecodeStep
from worldtune.families.autoregressive.guide import Rows
from worldtune.families.autoregressive.layout import Layout
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.objective import with_begin

Choose = Callable[[Tensor, int], Tensor]
"""(logits [R, X], number of the cell) -> its token [B]."""


@torch.inference_mode()
def fill(
    network: VideoTransformer, layout: Layout, rows: Rows, cells_BN: Tensor, known: int, copies: int, choose: Choose
) -> Tensor:
    """The cells with those from `known` on chosen one by one, [B, N].

    The network sees `copies` copies of every sample, which may differ in what `rows` says. Raises ValueError when
    nothing is known and there is no begin token to start from.
    """
    if known + layout.num_begin == 0:
        raise ValueError("this base has no begin token: give at least one latent frame")
    cells_BN = cells_BN.clone()
    sequence_RS = with_begin(network, cells_BN.repeat(copies, 1), layout)
    cache = network.new_cache(len(sequence_RS), layout.num_rows, rows)
    hidden_RND = network.hidden(sequence_RS[:, : known + layout.num_begin], rows, cache)
    logits_RX = network.output(hidden_RND[:, -1])
    step = DecodeStep(network, rows, cache)
    for cell in range(known, layout.num_cells):
        cells_BN[:, cell] = choose(logits_RX, cell)
        if cell + 1 < layout.num_cells:
            logits_RX = step.logits(cells_BN[:, cell].repeat(copies), cell + layout.num_begin)
    return cells_BN
