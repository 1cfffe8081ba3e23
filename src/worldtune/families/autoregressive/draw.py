"""From logits to a token.

Shape legend: B batch, X vocabulary, K candidates, likeliest first.
"""

import torch
from torch import Tensor

FEW = 128
"""Likeliest tokens that are looked at first on a CPU."""
MARGIN = 1e-4
"""More than rounding can do to a sum of probabilities."""


def draw(logits_BX: Tensor, uniform_B: Tensor, *, temperature: float, top_p: float, top_k: int) -> Tensor:
    """One token per row, int64 [B]: the place of uniform_B (0 <= u < 1) in the cumulative probability.

    Temperature 0 takes the likeliest. top_k keeps that many candidates (0: all). top_p keeps a candidate when those
    likelier than it have at most that probability together, so the first one always stays (facts: Cosmos' nucleus
    rule). Computed in float32; one number per row and token makes a row's tokens independent of its batch.
    """
    if temperature == 0:
        return logits_BX.argmax(-1)
    probability_BX = (logits_BX.float() / temperature).softmax(-1)
    probability_BK, ids_BK = _candidates(probability_BX, top_p, top_k)
    likelier_BK = probability_BK.cumsum(-1) - probability_BK
    kept_BK = likelier_BK <= top_p
    cumulative_BK = (probability_BK * kept_BK).cumsum(-1)
    place_B1 = torch.searchsorted(cumulative_BK, uniform_B[:, None] * cumulative_BK[:, -1:], right=True)
    place_B1 = place_B1.minimum(kept_BK.sum(-1, keepdim=True) - 1)
    return ids_BK.gather(1, place_B1).squeeze(1)


def _candidates(probability_BX: Tensor, top_p: float, top_k: int) -> tuple[Tensor, Tensor]:
    """Probabilities of the likeliest tokens, falling, and their ids; all that may be kept are among them.

    With top_k they are scaled to a sum of 1 before top_p counts. A CPU sorts slowly, and few tokens mostly hold top_p.
    """
    num_ids = probability_BX.shape[-1]
    if 0 < top_k < num_ids:
        top = probability_BX.topk(top_k)
        return top[0] / top[0].sum(-1, keepdim=True), top[1]
    if probability_BX.device.type == "cpu" and num_ids > 4 * FEW:
        few = probability_BX.topk(FEW)
        if (few[0].sum(-1) > top_p + MARGIN).all():
            return few[0], few[1]
    every = probability_BX.sort(descending=True)
    return every[0], every[1]
