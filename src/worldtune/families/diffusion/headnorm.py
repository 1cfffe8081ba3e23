"""RMSNorm of every head, then its rotary embedding: memory-bound work that eager CPU code does in a dozen passes.

Shape legend: B batch, N tokens, H heads, D head width, E half of it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

NORM_EPS = 1e-6

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine, each [B or 1, N, 1, E]."""


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


def _turn(x_BNHD: Tensor, cos_BN1E: Tensor, sin_BN1E: Tensor, *, direction: int) -> Tensor:
    """The same in three passes, without intermediates and without a gradient; direction -1 turns back."""
    out_BNHD = x_BNHD * torch.cat([cos_BN1E, cos_BN1E], dim=-1)
    (a, b), (out_a, out_b) = x_BNHD.chunk(2, dim=-1), out_BNHD.chunk(2, dim=-1)
    out_a.addcmul_(b, sin_BN1E, value=-direction)
    out_b.addcmul_(a, sin_BN1E, value=direction)
    return out_BNHD


class _NormAndRotate(torch.autograd.Function):
    """In float32 inside. The backward pass normalises again instead of keeping intermediates of the size of x."""

    @staticmethod
    def forward(ctx: Any, x_BNHD: Tensor, weight_D: Tensor, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        length_BNH1 = torch.linalg.vector_norm(x_BNHD, dim=-1, keepdim=True, dtype=torch.float32)
        factor_BNH1 = (length_BNH1.square_() / x_BNHD.shape[-1]).add_(NORM_EPS).rsqrt_()
        ctx.save_for_backward(x_BNHD, weight_D, factor_BNH1, cos, sin)
        out_BNHD = (x_BNHD.float() * factor_BNH1).mul_(weight_D)
        if cos is not None and sin is not None:
            out_BNHD = _turn(out_BNHD, cos, sin, direction=1)
        return out_BNHD.to(x_BNHD.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BNHD: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        x_BNHD, weight_D, factor_BNH1, cos, sin = ctx.saved_tensors
        unit_BNHD, grad_BNHD = x_BNHD.float() * factor_BNH1, grad_BNHD.float()
        if cos is not None:
            grad_BNHD = _turn(grad_BNHD, cos, sin, direction=-1)
        along_BNHD = grad_BNHD * unit_BNHD
        mean_BNH1 = (along_BNHD @ (weight_D.float() / weight_D.numel()))[..., None]
        dweight_D = along_BNHD.flatten(0, -2).sum(0).to(weight_D.dtype) if ctx.needs_input_grad[1] else None
        dx_BNHD = torch.mul(grad_BNHD, weight_D, out=along_BNHD).addcmul_(unit_BNHD, mean_BNH1, value=-1)
        return dx_BNHD.mul_(factor_BNH1).to(x_BNHD.dtype), dweight_D, None, None
