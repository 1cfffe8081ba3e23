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


def _chunks(x_BNHD: Tensor) -> Iterator[slice]:
    step = max(1, CHUNK_ELEMENTS * x_BNHD.shape[1] // max(1, x_BNHD.numel()))
    for first in range(0, x_BNHD.shape[1], step):
        yield slice(first, first + step)


class _NormAndRotate(torch.autograd.Function):
    """Chunk by chunk, in float32 inside. The backward pass normalises again instead of keeping intermediates."""

    @staticmethod
    def forward(ctx: Any, x_BNHD: Tensor, weight_D: Tensor, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_BNHD, weight_D, cos, sin)
        out_BNHD = torch.empty_like(x_BNHD)
        for chunk in _chunks(x_BNHD):
            scaled = _unit(x_BNHD[:, chunk])[0].mul_(weight_D)
            rotated = scaled if cos is None or sin is None else _turn(scaled, cos[:, chunk], sin[:, chunk])
            out_BNHD[:, chunk] = rotated
        return out_BNHD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BNHD: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x_BNHD, weight_D, cos, sin = ctx.saved_tensors
        dx_BNHD = torch.empty_like(x_BNHD)
        dweight_D = torch.zeros_like(weight_D, dtype=torch.float32)
        for chunk in _chunks(x_BNHD):
            unit, factor = _unit(x_BNHD[:, chunk])
            grad = grad_BNHD[:, chunk].float()
            if cos is not None:
                grad = _turn(grad, cos[:, chunk], -sin[:, chunk])
            along = grad * unit
            dweight_D += along.flatten(0, -2).sum(0)
            mean = (along @ weight_D.float())[..., None] / x_BNHD.shape[-1]
            dx_BNHD[:, chunk] = (grad * weight_D).addcmul_(unit, mean, value=-1).mul_(factor)
        return dx_BNHD, dweight_D.to(weight_D.dtype), None, None
