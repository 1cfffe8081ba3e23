"""Muon (Jordan et al. 2024): hidden matrices move by their orthogonalised momentum, everything else by AdamW.

Torch's own Muon multiplies in bfloat16, which many CPUs emulate dozens of times slower; here it is float32 on those,
matrices of one shape go through together, and the kernel of a convolution is a matrix: outputs by all that one reads.

Shape legend: N matrices of one shape, R rows, C columns, R <= C.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from worldtune.training.precision import resolved_precision

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that pushes all singular values towards 1."""
ITERATIONS = 5
MAX_ASPECT = 9
"""Matrices longer than this times their width are output layers or adapters: AdamW moves them better. 3x3 kernels
between equally many channels are just within."""


def suits(parameter: Tensor) -> bool:
    """Whether Muon takes a trained matrix that is no embedding."""
    if parameter.ndim < 2:
        return False
    rows, columns = parameter.flatten(1).shape
    return max(rows, columns) <= MAX_ASPECT * min(rows, columns)


def orthogonalised(x_NRC: Tensor) -> Tensor:
    """About U V^T of every matrix U S V^T: singular values end between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    x_NRC = x_NRC / (torch.linalg.matrix_norm(x_NRC, keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram_NRR = x_NRC @ x_NRC.mT
        x_NRC = torch.baddbmm(x_NRC, torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c), x_NRC, beta=a)
    return x_NRC


class Muon:
    """Both optimizers behind what the loop and the checkpoints use of one."""

    def __init__(
        self, matrices: Sequence[nn.Parameter], rest: torch.optim.Optimizer, *, momentum: float, weight_decay: float
    ) -> None:
        if any(isinstance(parameter, DTensor) for parameter in matrices):
            raise ValueError("optim.optimizer muon works in a single process; take adamw with several")
        self.rest, self.momentum = rest, momentum
        self.group: dict[str, Any] = {"params": list(matrices), "lr": 0.0, "weight_decay": weight_decay}
        self.param_groups = [*rest.param_groups, self.group]
        self._average = {parameter: torch.zeros_like(parameter) for parameter in matrices}

    @property
    def state(self) -> Mapping[Tensor, dict[str, Tensor]]:
        """Tensors that a resumed run needs, by parameter."""
        return {**self.rest.state, **{p: {"momentum": average} for p, average in self._average.items()}}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        self.rest.zero_grad(set_to_none)
        for parameter in self._average:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move all parameters with a gradient. Updates are scaled to the size of AdamW's, so one rate suits both."""
        self.rest.step()
        lr, decay = self.group["lr"], self.group["weight_decay"]
        alike: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for parameter, average in self._average.items():
            if parameter.grad is not None:
                average.lerp_(parameter.grad, 1 - self.momentum)
                ahead = parameter.grad.lerp(average, self.momentum).flatten(1)
                alike[tuple(sorted(ahead.shape))].append((parameter, ahead if len(ahead) <= len(ahead.T) else ahead.T))
        for shape, group in alike.items():
            stacked_NRC = torch.stack([ahead for _, ahead in group])
            if resolved_precision("auto", stacked_NRC.device) == "bf16":
                stacked_NRC = stacked_NRC.bfloat16()
            updates_NRC = orthogonalised(stacked_NRC).to(group[0][0].dtype)
            for (parameter, _), update in zip(group, updates_NRC, strict=True):
                parameter.mul_(1 - lr * decay)
                rows = update if len(parameter) == len(update) else update.T
                parameter.sub_(rows.reshape(parameter.shape), alpha=0.2 * lr * shape[1] ** 0.5)
