"""Attention with fewer key heads than query heads.

CPUs do not compute it with the fused kernel in bf16, which is several times slower than in fp32: long sequences take
plain bf16 products where the CPU has them, everything else fp32.

Shape legend: B batch, N query tokens, M key tokens, H query heads, K key heads, G = H / K query heads per key head,
D head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from worldtune.networks.chunked_attention import chunked_attention, cpu_multiplies_bf16

FEWEST_QUERIES = 32
"""From how many queries on plain products are faster: decoding asks with one."""


def attention(
    q_BHND: Tensor, k_BKMD: Tensor, v_BKMD: Tensor, mask_NM: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, [B,H,N,D] in the dtype of q. The mask is bool, True where a query sees a key.

    `causal`: query n sees keys 0..n; then there is no mask. Query head h reads key head h // G.
    """
    if q_BHND.device.type == "cpu" and q_BHND.dtype == torch.bfloat16:
        if mask_NM is None and q_BHND.shape[2] >= FEWEST_QUERIES and cpu_multiplies_bf16():
            return _chunked(q_BHND, k_BKMD, v_BKMD, causal)
        with torch.autocast("cpu", enabled=False):
            out_BHND = _fused(q_BHND.float(), k_BKMD.float(), v_BKMD.float(), mask_NM, causal)
        return out_BHND.to(q_BHND.dtype)
    return _fused(q_BHND, k_BKMD, v_BKMD, mask_NM, causal)


def _fused(q_BHND: Tensor, k_BKMD: Tensor, v_BKMD: Tensor, mask_NM: Tensor | None, causal: bool) -> Tensor:
    return F.scaled_dot_product_attention(
        q_BHND, k_BKMD, v_BKMD, mask_NM, is_causal=causal, enable_gqa=k_BKMD.shape[1] != q_BHND.shape[1]
    )


def _chunked(q_BHND: Tensor, k_BKMD: Tensor, v_BKMD: Tensor, causal: bool) -> Tensor:
    batch, heads = q_BHND.shape[:2]
    repeated = (x.repeat_interleave(heads // x.shape[1], 1) for x in (k_BKMD, v_BKMD))
    rows = (x.contiguous().flatten(0, 1) for x in (q_BHND, *repeated))
    return chunked_attention(*rows, causal=causal).unflatten(0, (batch, heads))
