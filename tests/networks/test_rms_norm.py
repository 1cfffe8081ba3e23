"""RMSNorm and rotation of heads: the CPU route against the plain formula, forwards and backwards."""

import pytest
import torch

from worldtune.networks.rms_norm import norm_and_rotate

EPS = 1e-6


def formula(x_BNHD: torch.Tensor, weight_D: torch.Tensor, angles_1N1E: torch.Tensor | None) -> torch.Tensor:
    normed = x_BNHD * (x_BNHD.square().mean(-1, keepdim=True) + EPS).rsqrt() * weight_D
    if angles_1N1E is None:
        return normed
    turned = torch.view_as_complex(torch.stack(normed.chunk(2, -1), -1)) * torch.polar(torch.ones(()), angles_1N1E)
    return torch.cat([turned.real, turned.imag], -1)


@pytest.mark.parametrize("rotated", [True, False])
def test_equals_the_formula_and_its_derivative(rotated: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 11, 3, 8, generator=draw), torch.randn(8, generator=draw)
    angles, upstream = torch.randn(1, 11, 1, 4, generator=draw) * 3, torch.randn(2, 11, 3, 8, generator=draw)
    angles = angles if rotated else None
    results = []
    for function in (formula, lambda x, w, a: norm_and_rotate(x, w, EPS, None if a is None else (a.cos(), a.sin()))):
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
        out = function(*leaves, angles)
        results.append((out, *torch.autograd.grad(out, leaves, upstream)))
    for wanted, got in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_bf16_is_rounded_once() -> None:
    x, angles = torch.randn(1, 5, 2, 16).bfloat16(), torch.randn(1, 5, 1, 8)
    out = norm_and_rotate(x, torch.ones(16), EPS, (angles.cos(), angles.sin()))
    assert torch.equal(out, formula(x.float(), torch.ones(16), angles).bfloat16())


def test_a_zero_row_stays_zero() -> None:
    """Padding of the text: its keys must be zero, and so must its gradient be finite."""
    x = torch.zeros(1, 2, 1, 4, requires_grad=True)
    out = norm_and_rotate(x, torch.ones(4), EPS, None)
    out.sum().backward()
    assert out.eq(0).all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
