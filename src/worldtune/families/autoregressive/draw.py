"""From logits to a token.

Shape legend: B batch, X vocabulary, K candidates, likeliest first.
"""

import torch
from torch import Tensor


def draw(logits_BX: Tensor, uniform_B: Tensor, *, temperature: float, top_p: float, top_k: int) -> Tensor:
    """One token per row, int64 [B]: the place of uniform_B (0 <= u < 1) in the cumulative probability.

    Temperature 0 takes the likeliest. top_k keeps that many candidates (0: all). top_p keeps a candidate when those
    likelier than it have at most that probability together, so the first one always stays (facts: Cosmos' nucleus
    rule). Computed in float32; one number per row and token makes a row's tokens independent of its batch.
    """
    if temperature == 0:
        return logits_BX.argmax(-1)
    logits_BX = logits_BX.float() / temperature
    num_ids = logits_BX.shape[-1]
    top = logits_BX.topk(top_k) if 0 < top_k < num_ids else logits_BX.sort(descending=True)
    probability_BK = top[0].softmax(-1)
    likelier_BK = probability_BK.cumsum(-1) - probability_BK
    kept_BK = likelier_BK <= top_p
    cumulative_BK = (probability_BK * kept_BK).cumsum(-1)
    place_B1 = torch.searchsorted(cumulative_BK, uniform_B[:, None] * cumulative_BK[:, -1:], right=True)
    place_B1 = place_B1.minimum(kept_BK.sum(-1, keepdim=True) - 1)
    return top[1].gather(1, place_B1).squeeze(1)
