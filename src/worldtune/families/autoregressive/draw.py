"""From logits to a token.

Shape legend: B batch, b some rows of it, X vocabulary, K candidates, likeliest first.
"""

import torch
from torch import Tensor

FEW = 128
"""Likeliest tokens that are looked at first on a CPU."""
MARGIN = 1e-4
"""More than rounding can do to a sum of probabilities."""


def draw(logits_BX: Tensor, uniform_B: Tensor, *, temperature: float, top_p: float, top_k: int) -> Tensor:
    """One token per row, int64 [B]: the place of uniform_B (0 <= u < 1) in the cumulative probability.

    Temperature 0 takes the likeliest. top_k keeps that many candidates (0: all) and scales them to a sum of 1; then
    top_p keeps a candidate when those likelier than it have at most that probability together, so the first one always
    stays (facts: Cosmos' nucleus rule). Computed in float32; one number per row and token makes a row's tokens
    independent of its batch.
    """
    if temperature == 0:
        return logits_BX.argmax(-1)
    probability_BX = (logits_BX.float() / temperature).softmax(-1)
    num_ids = probability_BX.shape[-1]
    if 0 < top_k < num_ids:
        top_BK = probability_BX.topk(top_k)
        return _place(top_BK[0] / top_BK[0].sum(-1, keepdim=True), top_BK[1], uniform_B, top_p)
    if probability_BX.device.type != "cpu" or num_ids <= 4 * FEW:
        return _place(*probability_BX.sort(descending=True), uniform_B, top_p)
    # A CPU sorts slowly, and few tokens mostly hold top_p: only rows in which they do not are sorted.
    few_BK = probability_BX.topk(FEW)
    drawn_B = _place(*few_BK, uniform_B, top_p)
    flat_b = (few_BK[0].sum(-1) <= top_p + MARGIN).nonzero().squeeze(1)
    if len(flat_b):
        drawn_B[flat_b] = _place(*probability_BX[flat_b].sort(descending=True), uniform_B[flat_b], top_p)
    return drawn_B


def _place(probability_BK: Tensor, ids_BK: Tensor, uniform_B: Tensor, top_p: float) -> Tensor:
    """One of the candidates, whose probabilities fall along a row. All that top_p keeps must be among them."""
    likelier_BK = probability_BK.cumsum(-1) - probability_BK
    kept_BK = likelier_BK <= top_p
    cumulative_BK = (probability_BK * kept_BK).cumsum(-1)
    place_B1 = torch.searchsorted(cumulative_BK, uniform_B[:, None] * cumulative_BK[:, -1:], right=True)
    place_B1 = place_B1.minimum(kept_BK.sum(-1, keepdim=True) - 1)
    return ids_BK.gather(1, place_B1).squeeze(1)
