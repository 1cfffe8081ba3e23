"""The output layer and its loss in one pass: logits live a chunk at a time and are never computed twice.

The gradient of the loss with respect to the logits is known as soon as they are, so it is turned into that of states
and weights at once. Logits of 12,800 tokens times 64,000 ids would take 3 GB of float32 several times over; on a CPU
small chunks stay in the cache besides.

Shape legend: M scored tokens, m those of a chunk, D width, X vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LOGITS_PER_CHUNK = {"cpu": 1 << 20}
"""Logits of a chunk by device type."""
LOGITS_PER_CHUNK_ELSEWHERE = 1 << 26
FEWEST_ROWS = 256
"""Of a chunk, however large the vocabulary: each chunk adds to a gradient of the size of the weights."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over the scored tokens, float32 scalars. Only `loss` has a gradient."""

    loss: Tensor
    """cross_entropy + z_loss log_z_squared."""
    cross_entropy: Tensor
    log_z_squared: Tensor
    accuracy: Tensor
    """Share of tokens whose likeliest id is right; of equally likely ones any will do."""


def score(output: nn.Linear, hidden_MD: Tensor, targets_M: Tensor, z_loss: float) -> Scores:
    """Mean of -log p(target) + z_loss log(Z)^2, in float32 whatever the dtype of the states."""
    loss, cross_entropy, log_z_squared, accuracy = _Score.apply(
        hidden_MD, output.weight, targets_M, z_loss, torch.is_grad_enabled()
    )
    return Scores(loss=loss, cross_entropy=cross_entropy, log_z_squared=log_z_squared, accuracy=accuracy)


class _Score(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, weight_XD: Tensor, targets_M: Tensor, z_loss: float, learns: bool
    ) -> tuple[Tensor, ...]:
        device = hidden_MD.device.type
        needs_hidden, needs_weight = (learns and needed for needed in ctx.needs_input_grad[:2])
        size = max(FEWEST_ROWS, LOGITS_PER_CHUNK.get(device, LOGITS_PER_CHUNK_ELSEWHERE) // len(weight_XD))
        parts, grads_hidden = [], []
        grad_XD = torch.zeros_like(weight_XD, dtype=torch.float32) if needs_weight else None
        with torch.autocast(device, enabled=False):
            used_XD = weight_XD.to(hidden_MD.dtype)
            for hidden_mD, targets_m in zip(hidden_MD.split(size), targets_M.split(size), strict=True):
                exp_mX, sum_m, scores_3m = _exponentials(F.linear(hidden_mD, used_XD).float(), targets_m)
                parts.append(scores_3m)
                if not (needs_hidden or needs_weight):
                    continue
                grad_mX = _gradient(exp_mX, sum_m, scores_3m[1], targets_m, z_loss, len(targets_M)).to(hidden_MD.dtype)
                if needs_hidden:
                    grads_hidden.append(grad_mX @ used_XD)
                if grad_XD is not None:
                    _add_product(grad_XD, grad_mX, hidden_mD)
        ctx.grad_hidden_MD = torch.cat(grads_hidden) if needs_hidden else None
        ctx.grad_XD = None if grad_XD is None else grad_XD.to(weight_XD.dtype)
        nll_M, log_z_M, right_M = torch.cat(parts, 1)
        cross_entropy, log_z_squared, accuracy = nll_M.mean(), log_z_M.square().mean(), right_M.mean()
        ctx.mark_non_differentiable(cross_entropy, log_z_squared, accuracy)
        return cross_entropy + z_loss * log_z_squared, cross_entropy, log_z_squared, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        grads = (ctx.grad_hidden_MD, ctx.grad_XD)
        return *(None if grad is None else grad * grad_loss.to(grad.dtype) for grad in grads), None, None, None


def _exponentials(logits_mX: Tensor, targets_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(logits - their greatest), in the memory of the logits; its sum; and [-log p(target), log Z, is right]."""
    greatest_m = logits_mX.amax(-1)
    shifted_m = logits_mX.sub_(greatest_m[:, None]).gather(1, targets_m[:, None]).squeeze(1)
    exp_mX = logits_mX.exp_()
    sum_m = exp_mX.sum(-1)
    log_sum_m = sum_m.log()
    scores_3m = torch.stack([log_sum_m - shifted_m, log_sum_m + greatest_m, (shifted_m == 0).float()])
    return exp_mX, sum_m, scores_3m


def _gradient(exp_mX: Tensor, sum_m: Tensor, log_z_m: Tensor, targets_m: Tensor, z_loss: float, count: int) -> Tensor:
    """Of the loss by the logits, (p (1 + 2 z_loss log Z) - [is target]) / count, in the memory of exp."""
    grad_mX = exp_mX.mul_(((1 + 2 * z_loss * log_z_m) / (count * sum_m))[:, None])
    return grad_mX.scatter_add_(1, targets_m[:, None], torch.full_like(log_z_m, -1 / count)[:, None])


def _add_product(sum_XD: Tensor, grad_mX: Tensor, hidden_mD: Tensor) -> None:
    if grad_mX.dtype == sum_XD.dtype:
        sum_XD.addmm_(grad_mX.T, hidden_mD)
    else:
        sum_XD += grad_mX.T @ hidden_mD
