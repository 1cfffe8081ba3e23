"""Attention without a mask, by the fastest exact route on each machine.

Shape legend: B batch, N query tokens, M key tokens, H heads, D head width.

GPUs, and every machine in fp32, have a good fused kernel. CPUs do not in bf16, and one without bf16 arithmetic emulates
it dozens of times slower than fp32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from worldtune.networks import chunked_attention as chunked


def attention(q_BNHD: Tensor, k_BMHD: Tensor, v_BMHD: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v for every head, [B,N,H,D] in the dtype of the inputs, which must agree."""
    if q_BNHD.device.type != "cpu" or q_BNHD.dtype != torch.bfloat16:
        return fused_attention(q_BNHD, k_BMHD, v_BMHD)
    if chunked.cpu_multiplies_bf16():
        return chunked_attention(q_BNHD, k_BMHD, v_BMHD)
    with torch.autocast("cpu", enabled=False):
        return fused_attention(q_BNHD.float(), k_BMHD.float(), v_BMHD.float()).to(q_BNHD.dtype)


def fused_attention(q_BNHD: Tensor, k_BMHD: Tensor, v_BMHD: Tensor) -> Tensor:
    """The kernel that ships with torch."""
    out_BHND = F.scaled_dot_product_attention(q_BNHD.transpose(1, 2), k_BMHD.transpose(1, 2), v_BMHD.transpose(1, 2))
    return out_BHND.transpose(1, 2)


def chunked_attention(q_BNHD: Tensor, k_BMHD: Tensor, v_BMHD: Tensor) -> Tensor:
    """Plain matrix products over chunks of queries; the backward pass computes the weights again."""
    batch, _, heads, _ = q_BNHD.shape
    rows = (x.transpose(1, 2).contiguous().flatten(0, 1) for x in (q_BNHD, k_BMHD, v_BMHD))
    return chunked.chunked_attention(*rows).unflatten(0, (batch, heads)).transpose(1, 2)
