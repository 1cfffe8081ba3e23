"""Attention: every route computes the same function and the same gradients."""

import pytest
import torch

from worldtune.families.diffusion.attention import attention, chunked_attention, fused_attention
from worldtune.networks import chunked_attention as room


def inputs(num_queries: int, num_keys: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, num_queries, 3, 16), (2, num_keys, 3, 16), (2, num_keys, 3, 16)]
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def by_hand(q_BNHD: torch.Tensor, k_BMHD: torch.Tensor, v_BMHD: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bnhd,bmhd->bhnm", q_BNHD, k_BMHD) / q_BNHD.shape[-1] ** 0.5
    return torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), v_BMHD)


@pytest.mark.parametrize("route", [chunked_attention, fused_attention])
@pytest.mark.parametrize(("num_queries", "num_keys"), [(5, 7), (128, 300), (300, 1)])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_routes_equal_the_formula(monkeypatch, route, num_queries, num_keys, dtype, limit):
    monkeypatch.setattr(room, "CHUNK_SCORES", 1)  # so that 300 queries are three chunks
    arguments = inputs(num_queries, num_keys, dtype)
    exact = [x.detach().double().requires_grad_() for x in arguments]
    out, wanted = route(*arguments), by_hand(*exact)
    torch.testing.assert_close(out.double(), wanted, atol=limit, rtol=limit)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(wanted)
    got_grads = torch.autograd.grad((out * weight).sum(), arguments)
    for got, want in zip(got_grads, torch.autograd.grad((wanted * weight).sum(), exact), strict=True):
        torch.testing.assert_close(got.double(), want, atol=10 * limit, rtol=10 * limit)


def test_chunked_gradient_is_the_derivative():
    assert torch.autograd.gradcheck(chunked_attention, inputs(4, 3, torch.float64))


@pytest.mark.parametrize("has_bf16", [True, False])
def test_bf16_on_cpu_stays_near_fp32(monkeypatch, has_bf16):
    monkeypatch.setattr(room, "cpu_multiplies_bf16", lambda: has_bf16)
    arguments = inputs(40, 33, torch.bfloat16)
    out = attention(*arguments)
    assert out.dtype == torch.bfloat16
    wanted = by_hand(*[x.detach().double() for x in arguments])
    torch.testing.assert_close(out.double(), wanted, atol=2e-2, rtol=2e-2)
    out.float().square().sum().backward()
    assert all(x.grad is not None and x.grad.dtype == torch.bfloat16 for x in arguments)


def test_padding_rows_of_zeros_change_the_result_as_in_the_reference():
    """Text is padded with zero rows and never masked: each contributes weight exp(0) and value 0."""
    q, k, v = inputs(4, 3, torch.float64)
    zeros = torch.zeros(2, 5, 3, 16, dtype=torch.float64)
    padded = attention(q, torch.cat([k, zeros], 1), torch.cat([v, zeros], 1))
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) / 4
    wanted = torch.einsum("bhnm,bmhd->bnhd", scores.exp(), v) / (scores.exp().sum(-1) + 5).mT[..., None]
    torch.testing.assert_close(padded, wanted)
