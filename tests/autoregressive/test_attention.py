"""Causal attention with fewer key heads: every route computes the same function and the same gradients."""

import pytest
import torch

from worldtune.families.autoregressive import attention as room
from worldtune.families.autoregressive.attention import attention
from worldtune.networks import chunked_attention as chunked

KEY_HEADS, GROUP = 2, 3


def inputs(length: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, heads, length, 16) for heads in (KEY_HEADS * GROUP, KEY_HEADS, KEY_HEADS)]
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def by_hand(q_BHND: torch.Tensor, k_BKND: torch.Tensor, v_BKND: torch.Tensor) -> torch.Tensor:
    k_BHND, v_BHND = (x.repeat_interleave(GROUP, 1) for x in (k_BKND, v_BKND))
    scores = torch.einsum("bhnd,bhmd->bhnm", q_BHND, k_BHND) / q_BHND.shape[-1] ** 0.5
    scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
    return torch.einsum("bhnm,bhmd->bhnd", scores.softmax(-1), v_BHND)


@pytest.mark.parametrize("length", [1, 40, 128, 300])
@pytest.mark.parametrize("route", [room._chunked, room._fused])
def test_routes_equal_the_formula(length, route):
    arguments = inputs(length, torch.float64)
    exact = [x.detach().requires_grad_() for x in arguments]
    out = route(*arguments, True) if route is room._chunked else route(*arguments, None, True)
    wanted = by_hand(*exact)
    torch.testing.assert_close(out, wanted, atol=1e-12, rtol=1e-12)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(wanted)
    got_grads = torch.autograd.grad((out * weight).sum(), arguments)
    for got, want in zip(got_grads, torch.autograd.grad((wanted * weight).sum(), exact), strict=True):
        torch.testing.assert_close(got, want, atol=1e-11, rtol=1e-11)


def test_the_causal_gradient_is_the_derivative(monkeypatch):
    monkeypatch.setattr(chunked, "FEWEST_QUERIES", 2)  # so that five queries are three chunks
    rows = [x.flatten(0, 1)[:2] for x in inputs(5, torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: chunked.chunked_attention(*x, causal=True), rows)


@pytest.mark.parametrize("has_bf16", [True, False])
def test_bf16_on_cpu_stays_near_fp32(monkeypatch, has_bf16):
    monkeypatch.setattr(room, "cpu_multiplies_bf16", lambda: has_bf16)
    arguments = inputs(40, torch.bfloat16)
    out = attention(*arguments, causal=True)
    assert out.dtype == torch.bfloat16
    wanted = by_hand(*[x.detach().double() for x in arguments])
    torch.testing.assert_close(out.double(), wanted, atol=2e-2, rtol=2e-2)
