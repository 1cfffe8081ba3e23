"""Attention by plain bf16 matrix products, for CPUs that have bf16 instructions.

Their fused kernel reaches a third of what plain bf16 products reach. Gradients are worked out chunk by chunk from the
inputs, so that no matrix of scores is kept.

Shape legend: X rows of batch and heads, N query tokens, M key tokens, D head width, C queries of one chunk.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_SCORES = 1 << 23
"""Scores of a chunk, over all rows: few enough to stay in the cache between the two products."""
FEWEST_QUERIES = 128
"""Of a chunk, however many keys there are: products of fewer rows are slow."""


@functools.cache
def cpu_multiplies_bf16() -> bool:
    """True when this CPU has bf16 matrix instructions."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def chunked_attention(q_XND: Tensor, k_XMD: Tensor, v_XMD: Tensor, *, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, [X,N,D] in the dtype of the inputs, which must agree.

    `causal`: query n sees keys 0..n, and N equals M. Rows should be contiguous: with others between them, powers of two
    apart, they fall into the same few lines of the cache, and products take two to three times as long.
    """
    assert not causal or q_XND.shape[1] == k_XMD.shape[1], "causal attention is of a sequence to itself"
    out: Tensor = ChunkedAttention.apply(q_XND, k_XMD, v_XMD, causal)
    return out


def _chunks(q_XND: Tensor, k_XMD: Tensor, causal: bool) -> Iterator[tuple[slice, slice]]:
    """Queries and the keys that they see. Causal chunks are short: the keys after them are no work."""
    queries, keys = q_XND.shape[1], k_XMD.shape[1]
    size = FEWEST_QUERIES if causal else max(FEWEST_QUERIES, CHUNK_SCORES // (len(k_XMD) * keys))
    for first in range(0, queries, size):
        end = min(first + size, queries)
        yield slice(first, end), slice(0, end if causal else keys)


def _weights(q_XCD: Tensor, k_XMD: Tensor, causal: bool) -> Tensor:
    """[X,C,M]; the softmax is computed in fp32 inside the kernel whatever the dtype. Causal queries are the last C."""
    scores_XCM = torch.baddbmm(q_XCD.new_zeros(1), q_XCD, k_XMD.mT, beta=0, alpha=q_XCD.shape[-1] ** -0.5)
    if causal:
        queries, keys = scores_XCM.shape[1:]
        scores_XCM[..., keys - queries :] += q_XCD.new_full((queries, queries), -torch.inf).triu(1)
    return scores_XCM.softmax(-1)


class ChunkedAttention(torch.autograd.Function):
    """Gradients of keys and values add up in fp32 or better."""

    @staticmethod
    def forward(ctx: Any, q_XND: Tensor, k_XMD: Tensor, v_XMD: Tensor, causal: bool) -> Tensor:
        ctx.save_for_backward(q_XND, k_XMD, v_XMD)
        ctx.causal = causal
        parts = [
            _weights(q_XND[:, chunk], k_XMD[:, seen], causal) @ v_XMD[:, seen]
            for chunk, seen in _chunks(q_XND, k_XMD, causal)
        ]
        return torch.cat(parts, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_XND: Tensor) -> tuple[Tensor | None, ...]:
        q_XND, k_XMD, v_XMD = ctx.saved_tensors
        sum_dtype = torch.promote_types(q_XND.dtype, torch.float32)
        scale, grad_XND = q_XND.shape[-1] ** -0.5, grad_XND.contiguous()
        dq_XND = torch.empty_like(q_XND)
        dk_XMD, dv_XMD = (torch.zeros_like(x, dtype=sum_dtype) for x in (k_XMD, v_XMD))
        for chunk, seen in _chunks(q_XND, k_XMD, ctx.causal):
            q_XCD, grad_XCD, k_XSD = q_XND[:, chunk], grad_XND[:, chunk], k_XMD[:, seen]
            weights_XCS = _weights(q_XCD, k_XSD, ctx.causal)
            dv_XMD[:, seen] += weights_XCS.mT @ grad_XCD
            dweights_XCS = grad_XCD @ v_XMD[:, seen].mT
            dscores_XCS = torch.ops.aten._softmax_backward_data(dweights_XCS, weights_XCS, -1, q_XND.dtype)
            dq_XND[:, chunk] = (dscores_XCS @ k_XSD).mul_(scale)
            dk_XMD[:, seen] += (dscores_XCS.mT @ q_XCD).mul_(scale)
        return dq_XND, dk_XMD.to(k_XMD.dtype), dv_XMD.to(v_XMD.dtype), None
