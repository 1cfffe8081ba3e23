"""RMSNorm, and the rotary embedding after it: memory-bound work that eager CPU code does in a dozen passes.

Shape legend: D normalised channels, E half of them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine, [..., E] each: what is normalised has a last axis of 2 E, its other axes are broadcast."""


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, with a weight; returns the dtype of its input."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def reset_parameters(self) -> None:
        """Ones."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor, rotary: Rotary | None = None) -> Tensor:
        """Norm, then rotation if there is one. Same shape and dtype."""
        return norm_and_rotate(x, self.weight, self.eps, rotary)


def norm_and_rotate(x: Tensor, weight_D: Tensor, eps: float, rotary: Rotary | None) -> Tensor:
    """x / sqrt(mean(x^2) + eps) weight over the last axis, then `rotate`. The dtype of x is kept."""
    with torch.autocast(x.device.type, enabled=False):
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            cos, sin = (None, None) if rotary is None else rotary
            out: Tensor = _NormAndRotate.apply(x, weight_D, eps, cos, sin)
            return out
        normed = F.rms_norm(x, weight_D.shape, weight_D.to(x.dtype), eps)
        return normed if rotary is None else rotate(normed, rotary).to(x.dtype)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotary embedding in half-split order: channel i turns with channel i + E (facts: 3-D RoPE of
    Cosmos GeneralDIT)."""
    (a, b), (cos, sin) = x.chunk(2, dim=-1), rotary
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def _turn(x: Tensor, cos: Tensor, sin: Tensor, *, direction: int) -> Tensor:
    """The same in three passes, without intermediates and without a gradient; direction -1 turns back."""
    out = x * torch.cat([cos, cos], dim=-1)
    (a, b), (out_a, out_b) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)
    out_a.addcmul_(b, sin, value=-direction)
    out_b.addcmul_(a, sin, value=direction)
    return out


class _NormAndRotate(torch.autograd.Function):
    """In float32 inside. The backward pass normalises again instead of keeping intermediates of the size of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        factor = (length.square_() / x.shape[-1]).add_(eps).rsqrt_()
        out = (x.float() * factor).mul_(weight_D)
        if cos is not None and sin is not None:
            cos, sin = cos.float(), sin.float()
            out = _turn(out, cos, sin, direction=1)
        ctx.save_for_backward(x, weight_D, factor, cos, sin)
        return out.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_D, factor, cos, sin = ctx.saved_tensors
        unit, grad = x.float() * factor, grad.float()
        if cos is not None:
            grad = _turn(grad, cos, sin, direction=-1)
        along = grad * unit
        mean = (along @ (weight_D.float() / weight_D.numel()))[..., None]
        dweight_D = along.sum(tuple(range(along.ndim - 1))).to(weight_D.dtype) if ctx.needs_input_grad[1] else None
        dx = torch.mul(grad, weight_D, out=along).addcmul_(unit, mean, value=-1)
        return dx.mul_(factor).to(x.dtype), dweight_D, None, None, None
