"""Attention with fewer key heads than query heads.

CPUs compute it in fp32 whatever the dtype: their fused kernel is several times slower in bf16.

Shape legend: B batch, N query tokens, M key tokens, H query heads, K key heads, G = H / K query heads per key head,
D head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(
    q_BHND: Tensor, k_BKMD: Tensor, v_BKMD: Tensor, mask_NM: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, [B,H,N,D] in the dtype of q. The mask is bool, True where a query sees a key.

    `causal`: query n sees keys 0..n; then there is no mask. Query head h reads key head h // G.
    """
    if q_BHND.device.type == "cpu" and q_BHND.dtype == torch.bfloat16:
        with torch.autocast("cpu", enabled=False):
            out_BHND = _fused(q_BHND.float(), k_BKMD.float(), v_BKMD.float(), mask_NM, causal)
        return out_BHND.to(q_BHND.dtype)
    return _fused(q_BHND, k_BKMD, v_BKMD, mask_NM, causal)


def _fused(q_BHND: Tensor, k_BKMD: Tensor, v_BKMD: Tensor, mask_NM: Tensor | None, causal: bool) -> Tensor:
    return F.scaled_dot_product_attention(
        q_BHND, k_BKMD, v_BKMD, mask_NM, is_causal=causal, enable_gqa=k_BKMD.shape[1] != q_BHND.shape[1]
    )
