"""RMSNorm of every head, then its rotary embedding: memory-bound work that eager CPU code does in a dozen passes.

Shape legend: B batch, N tokens, H heads, D head width, E half of it.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

NORM_EPS = 1e-6
CHUNK_ELEMENTS = 1 << 18
"""Elements of one chunk on a CPU: its float32 intermediates stay in the cache, and few kernels are started."""

Rotary = tuple[Tensor, Tensor]


def norm_and_rotate(x_BNHD: Tensor, weight_D: Tensor, rotary: Rotary | None) -> Tensor:
    """RMSNorm over D with a weight, then rotation by (cos, sin), each [B or 1, N, 1, E]. The dtype of x is kept.

    The rotation is in half-split order: channel i turns with channel i + E (facts: 3-D RoPE of Cosmos GeneralDIT).
    """
    with torch.autocast(x_BNHD.device.type, enabled=False):
        if x_BNHD.device.type == "cpu" and not torch.compiler.is_compiling():
            cos, sin = (None, None) if rotary is None else rotary
            out: Tensor = _NormAndRotate.apply(x_BNHD, weight_D, cos, sin)
            return out
        normed = F.rms_norm(x_BNHD, weight_D.shape, weight_D.to(x_BNHD.dtype), NORM_EPS)
        return normed if rotary is None else _rotate(normed, *rotary).to(x_BNHD.dtype)


def _rotate(x_BNHD: Tensor, cos_BN1E: Tensor, sin_BN1E: Tensor) -> Tensor:
    a, b = x_BNHD.chunk(2, dim=-1)
    return torch.cat([a * cos_BN1E - b * sin_BN1E, b * cos_BN1E + a * sin_BN1E], dim=-1)


def _turn(x_BNHD: Tensor, cos_BN1E: Tensor, sin_BN1E: Tensor) -> Tensor:
    """The same in four passes, without intermediates and without a gradient."""
    out_BNHD = torch.empty_like(x_BNHD)
    (a, b), (out_a, out_b) = x_BNHD.chunk(2, dim=-1), out_BNHD.chunk(2, dim=-1)
    torch.mul(a, cos_BN1E, out=out_a).addcmul_(b, sin_BN1E, value=-1)
    torch.mul(b, cos_BN1E, out=out_b).addcmul_(a, sin_BN1E)
    return out_BNHD


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """x at unit RMS in float32, and the factor that made it so."""
    x = x.float()
    factor = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_() / x.shape[-1] + NORM_EPS).rsqrt_()
    return x * factor, factor


def _chunks(x_BNHD: Tensor, cos: Tensor | None, sin: Tensor | None) -> Iterator[tuple[slice, Rotary | None]]:
    """Ranges of tokens and the rotation of each."""
    step = max(1, CHUNK_ELEMENTS * x_BNHD.shape[1] // max(1, x_BNHD.numel()))
    for first in range(0, max(1, x_BNHD.shape[1]), step):
        chunk = slice(first, first + step)
        yield chunk, None if cos is None or sin is None else (cos[:, chunk], sin[:, chunk])


def _joined(parts: list[Tensor]) -> Tensor:
    """Along the tokens; nothing is copied when there is one part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class _NormAndRotate(torch.autograd.Function):
    """Chunk by chunk, in float32 inside. The backward pass normalises again instead of keeping intermediates."""

    @staticmethod
    def forward(ctx: Any, x_BNHD: Tensor, weight_D: Tensor, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_BNHD, weight_D, cos, sin)
        parts = []
        for chunk, rotary in _chunks(x_BNHD, cos, sin):
            scaled = _unit(x_BNHD[:, chunk])[0].mul_(weight_D)
            parts.append((scaled if rotary is None else _turn(scaled, *rotary)).to(x_BNHD.dtype))
        return _joined(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BNHD: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        x_BNHD, weight_D, cos, sin = ctx.saved_tensors
        parts, dweights = [], []
        for chunk, rotary in _chunks(x_BNHD, cos, sin):
            unit, factor = _unit(x_BNHD[:, chunk])
            grad = grad_BNHD[:, chunk].float()
            if rotary is not None:
                grad = _turn(grad, rotary[0], -rotary[1])
            along = grad * unit
            mean = (along @ weight_D.float())[..., None] / x_BNHD.shape[-1]
            parts.append((grad * weight_D).addcmul_(unit, mean, value=-1).mul_(factor).to(x_BNHD.dtype))
            if ctx.needs_input_grad[1]:
                dweights.append(along.flatten(0, -2).sum(0))
        dweight_D = torch.stack(dweights).sum(0).to(weight_D.dtype) if dweights else None
        return _joined(parts), dweight_D, None, None
