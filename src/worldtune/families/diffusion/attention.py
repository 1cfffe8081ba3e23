"""Attention without a mask, by the fastest exact route on each machine.

Shape legend: B batch, N query tokens, M key tokens, H heads, D head width; X = B H, C queries of one chunk.

GPUs, and every machine in fp32, have a good fused kernel. CPUs do not in bf16: the fused kernel reaches a third of what
plain bf16 matrix products reach, and a CPU without bf16 arithmetic emulates them dozens of times slower than fp32.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_SCORES = 1 << 23
"""Scores of a chunk, over all heads: few enough to stay in the cache between the two products."""
FEWEST_QUERIES = 128
"""Of a chunk, however many keys there are: products of fewer rows are slow."""


@functools.cache
def cpu_multiplies_bf16() -> bool:
    """True when this CPU has bf16 matrix instructions."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def attention(q_BNHD: Tensor, k_BMHD: Tensor, v_BMHD: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v for every head, [B,N,H,D] in the dtype of the inputs, which must agree."""
    if q_BNHD.device.type != "cpu" or q_BNHD.dtype != torch.bfloat16:
        return fused_attention(q_BNHD, k_BMHD, v_BMHD)
    if cpu_multiplies_bf16():
        return chunked_attention(q_BNHD, k_BMHD, v_BMHD)
    with torch.autocast("cpu", enabled=False):
        return fused_attention(q_BNHD.float(), k_BMHD.float(), v_BMHD.float()).to(q_BNHD.dtype)


def fused_attention(q_BNHD: Tensor, k_BMHD: Tensor, v_BMHD: Tensor) -> Tensor:
    """The kernel that ships with torch."""
    out_BHND = F.scaled_dot_product_attention(q_BNHD.transpose(1, 2), k_BMHD.transpose(1, 2), v_BMHD.transpose(1, 2))
    return out_BHND.transpose(1, 2)


def chunked_attention(q_BNHD: Tensor, k_BMHD: Tensor, v_BMHD: Tensor) -> Tensor:
    """Plain matrix products over chunks of queries; the backward pass computes the weights again.

    The rows of a head are laid one after another first: with those of the other heads between them, powers of two
    apart, they fall into the same few lines of the cache, and products take two to three times as long.
    """
    batch, _, heads, _ = q_BNHD.shape
    rows = (x.transpose(1, 2).contiguous().flatten(0, 1) for x in (q_BNHD, k_BMHD, v_BMHD))
    return ChunkedAttention.apply(*rows).unflatten(0, (batch, heads)).transpose(1, 2)


def _chunk_queries(q_XND: Tensor, k_XMD: Tensor) -> int:
    return max(FEWEST_QUERIES, CHUNK_SCORES // (len(k_XMD) * k_XMD.shape[1]))


def _weights(q_XCD: Tensor, k_XMD: Tensor) -> Tensor:
    """[X,C,M]; the softmax is computed in fp32 inside the kernel whatever the dtype."""
    scores_XCM = torch.baddbmm(q_XCD.new_zeros(1), q_XCD, k_XMD.mT, beta=0, alpha=q_XCD.shape[-1] ** -0.5)
    return scores_XCM.softmax(-1)


class ChunkedAttention(torch.autograd.Function):
    """Attention of [X,N,D] rows that keeps no score matrix. Gradients of keys and values add up in fp32 or better."""

    @staticmethod
    def forward(ctx: Any, q_XND: Tensor, k_XMD: Tensor, v_XMD: Tensor) -> Tensor:
        ctx.save_for_backward(q_XND, k_XMD, v_XMD)
        return torch.cat([_weights(q_XCD, k_XMD) @ v_XMD for q_XCD in q_XND.split(_chunk_queries(q_XND, k_XMD), 1)], 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_XND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_XND, k_XMD, v_XMD = ctx.saved_tensors
        sum_dtype = torch.promote_types(q_XND.dtype, torch.float32)
        scale = q_XND.shape[-1] ** -0.5
        dq_XND = torch.empty_like(q_XND)
        dk_XMD, dv_XMD = (torch.zeros_like(x, dtype=sum_dtype) for x in (k_XMD, v_XMD))
        size, grad_XND = _chunk_queries(q_XND, k_XMD), grad_XND.contiguous()
        for first in range(0, q_XND.shape[1], size):
            chunk = slice(first, first + size)
            q_XCD, grad_XCD = q_XND[:, chunk], grad_XND[:, chunk]
            weights_XCM = _weights(q_XCD, k_XMD)
            dv_XMD += weights_XCM.mT @ grad_XCD
            dweights_XCM = grad_XCD @ v_XMD.mT
            dscores_XCM = torch.ops.aten._softmax_backward_data(dweights_XCM, weights_XCM, -1, q_XND.dtype)
            dq_XND[:, chunk] = (dscores_XCM @ k_XMD).mul_(scale)
            dk_XMD += (dscores_XCM.mT @ q_XCD).mul_(scale)
        return dq_XND, dk_XMD.to(k_XMD.dtype), dv_XMD.to(v_XMD.dtype)
