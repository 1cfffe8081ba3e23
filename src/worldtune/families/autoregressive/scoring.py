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
    """Share of tokens whose likeliest id is right."""


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
                logits_mX = F.linear(hidden_mD, used_XD).float()
                log_z_m = logits_mX.logsumexp(-1)
                nll_m = log_z_m - logits_mX.gather(1, targets_m[:, None]).squeeze(1)
                right_m = (logits_mX.argmax(-1) == targets_m).float()
                parts.append(torch.stack([nll_m, log_z_m.square(), right_m]))
                if not (needs_hidden or needs_weight):
                    continue
                grad_mX = _logits_gradient(logits_mX, log_z_m, targets_m, z_loss, len(targets_M)).to(hidden_MD.dtype)
                if needs_hidden:
                    grads_hidden.append(grad_mX @ used_XD)
                if grad_XD is not None:
                    _add_product(grad_XD, grad_mX, hidden_mD)
        ctx.grad_hidden_MD = torch.cat(grads_hidden) if needs_hidden else None
        ctx.grad_XD = None if grad_XD is None else grad_XD.to(weight_XD.dtype)
        cross_entropy, log_z_squared, accuracy = torch.cat(parts, 1).mean(1).unbind()
        ctx.mark_non_differentiable(cross_entropy, log_z_squared, accuracy)
        return cross_entropy + z_loss * log_z_squared, cross_entropy, log_z_squared, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        grads = (ctx.grad_hidden_MD, ctx.grad_XD)
        return *(None if grad is None else grad * grad_loss.to(grad.dtype) for grad in grads), None, None, None


def _logits_gradient(logits_mX: Tensor, log_z_m: Tensor, targets_m: Tensor, z_loss: float, count: int) -> Tensor:
    """(p (1 + 2 z_loss log Z) - [is target]) / count, in the memory of the logits."""
    grad_mX = logits_mX.sub_(log_z_m[:, None]).exp_()
    grad_mX *= ((1 + 2 * z_loss * log_z_m) / count)[:, None]
    grad_mX.scatter_add_(1, targets_m[:, None], torch.full_like(log_z_m, -1 / count)[:, None])
    return grad_mX


def _add_product(sum_XD: Tensor, grad_mX: Tensor, hidden_mD: Tensor) -> None:
    if grad_mX.dtype == sum_XD.dtype:
        sum_XD.addmm_(grad_mX.T, hidden_mD)
    else:
        sum_XD += grad_mX.T @ hidden_mD
