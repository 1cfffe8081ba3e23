"""Moving average of weights with a power-function profile (EDM2: Karras et al., arXiv:2312.02696, section 3).

A fixed decay either forgets slowly or averages little; here the decay follows the step, so that the average always
covers the same *share* of the run. The share is `std`: the standard deviation of the averaging profile, relative to
the length of the run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from worldtune.training.parallel import local

MAX_STD = 0.28
"""A uniform average over the whole run has a relative standard deviation of 1/sqrt(12); gamma must stay above 0."""


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """The average that `generate` uses."""

    std: float = 0.1
    """Width of the averaging profile as a share of the run, 0..0.28. 0: no average, the plain weights stand in."""

    def __post_init__(self) -> None:
        if not 0 <= self.std <= MAX_STD:
            raise ValueError(f"ema.std must be in 0..{MAX_STD}, got {self.std}")


def gamma_of(std: float) -> float:
    """Exponent of the profile with that relative width: largest root of EDM2's cubic (equation 126 of its appendix)."""
    coefficients = [1.0, 7.0, 16.0 - std**-2, 12.0 - std**-2]
    return float(np.roots(coefficients).real.max())


def decay(gamma: float, step: int) -> float:
    """Weight of the old average at the `step`-th update, counted from 1: (1 - 1/step)^(gamma + 1)."""
    return (1 - 1 / step) ** (gamma + 1)


class Ema:
    """Average of the trained parameters, kept in fp32."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: EmaConfig) -> None:
        self.parameters = dict(parameters) if config.std > 0 else {}
        self.average = {name: p.detach().to(torch.float32, copy=True) for name, p in self.parameters.items()}
        self.gamma = gamma_of(config.std) if config.std > 0 else 0.0

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` finished steps."""
        if self.average:
            old = [local(tensor) for tensor in self.average.values()]
            new = [local(parameter.detach()).float() for parameter in self.parameters.values()]
            torch._foreach_lerp_(old, new, 1 - decay(self.gamma, step))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model holds the average inside, and its own weights again afterwards."""
        own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._write(self.average)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
