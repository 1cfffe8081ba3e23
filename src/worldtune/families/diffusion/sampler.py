"""Samplers: from noise to latents along the probability-flow ODE, without added noise on the way.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels; 1 broadcasts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch, leading
from worldtune.families.diffusion.denoiser import SIGMA_DATA, Observed, denoise, observe, takes_observed
from worldtune.families.diffusion.logvariance import DiffusionModel

SOLVERS = ("res", "euler")
ENDS = ("clean", "sigma_min")

Denoiser = Callable[[Tensor, float], Tensor]
"""(x, sigma) -> estimate of the clean latents."""


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Settings of generation. The defaults are those of NVIDIA's Cosmos-1 inference."""

    name: str = "res"
    """Solver: "res" (second-order exponential multistep, 2ab) or "euler" (EDM)."""
    steps: int = 35
    """Steps between sigma_max and sigma_min."""
    sigma_max: float = 80.0
    """Noise level of the start."""
    sigma_min: float = 0.002
    """Noise level of the last step. NVIDIA's Euler takes 0.0002."""
    rho: float = 7.0
    """Bend of the noise levels; larger puts more steps at low noise."""
    end: str = "clean"
    """"clean": one more network call removes the noise of sigma_min. "sigma_min": stop there (diffusers' Cosmos-1)."""
    guidance: float = 7.0
    """g in x0 = cond + g (cond - null). 0 never evaluates the null condition."""
    augment_sigma: float = 0.001
    """Noise level of the given frames as the network sees them; they are not shown below this noise level."""

    def __post_init__(self) -> None:
        if self.name not in SOLVERS:
            raise ValueError(f"sampler: name must be one of {', '.join(SOLVERS)}, got {self.name!r}")
        if self.end not in ENDS:
            raise ValueError(f"sampler: end must be one of {', '.join(ENDS)}, got {self.end!r}")
        if self.steps < 1:
            raise ValueError(f"sampler: steps must be at least 1, got {self.steps}")
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"sampler: wanted 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")
        for name in ("rho", "augment_sigma"):
            if not vars(self)[name] > 0:
                raise ValueError(f"sampler: {name} must be positive, got {vars(self)[name]}")
        if not self.guidance >= 0:
            raise ValueError(f"sampler: guidance must not be negative, got {self.guidance}")


@torch.no_grad()
def sample(
    model: DiffusionModel,
    batch: Batch,
    condition: Condition,
    null: Condition,
    generators: Sequence[torch.Generator],
    config: Sampler,
) -> Tensor:
    """Latents like batch.target, float32, whose given frames (`Batch.given_BVT`) are the batch's.

    Other frames of batch.target are not looked at. `null` is used with guidance only.
    Raises ValueError when frames are given to a network without a condition mask.
    """
    assert len(generators) == batch.size, f"{len(generators)} generators for {batch.size} rows"
    noise_BVTHWC, augment_BVTHWC = _noise_by_row(batch.target, generators), _noise_by_row(batch.target, generators)
    observed = _given_frames(model, batch, augment_BVTHWC, config)

    def clean(x_BVTHWC: Tensor, sigma: float) -> Tensor:
        return _guided(model, x_BVTHWC, sigma, batch, condition, null, observed, config)

    x_BVTHWC = solve(clean, noise_BVTHWC.double() * config.sigma_max, config)
    out_BVTHWC = (x_BVTHWC / SIGMA_DATA).float()
    if observed is None:
        return out_BVTHWC
    return torch.where(observed.is_observed_BVT111, batch.target.float(), out_BVTHWC)


def solve(denoiser: Denoiser, x: Tensor, config: Sampler) -> Tensor:
    """Integrate dx/dsigma = (x - x0(x, sigma)) / sigma from sigma_max; x is float64 of any shape."""
    sigmas = noise_levels(config)
    before: tuple[Tensor, float] | None = None
    for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
        x0 = denoiser(x, sigma)
        if config.name == "euler" or before is None:
            x = _first_order(x, x0, sigma, sigma_next)
        else:
            x = _second_order(x, x0, sigma, sigma_next, *before)
        before = x0, sigma
    return denoiser(x, sigmas[-1]) if config.end == "clean" else x


def noise_levels(config: Sampler) -> list[float]:
    """steps + 1 levels from sigma_max to sigma_min (Karras et al. 2022, equation 5)."""
    top, bottom = config.sigma_max ** (1 / config.rho), config.sigma_min ** (1 / config.rho)
    return [(top + i / config.steps * (bottom - top)) ** config.rho for i in range(config.steps + 1)]


def _first_order(x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Exact where x0 does not change along the step."""
    ratio = sigma_next / sigma
    return ratio * x + (1 - ratio) * x0


def _second_order(
    x: Tensor, x0: Tensor, sigma: float, sigma_next: float, x0_before: Tensor, sigma_before: float
) -> Tensor:
    """Exact where x0 is linear in ln(sigma) over this step and the one before (RES 2ab, Zhang et al. 2023)."""
    h = math.log(sigma / sigma_next)
    r = math.log(sigma / sigma_before) / h
    phi1 = -math.expm1(-h) / h
    phi2 = (1 - phi1) / h
    b2 = phi2 / r
    return math.exp(-h) * x + h * ((phi1 - b2) * x0 + b2 * x0_before)


def _noise_by_row(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Drawn on the CPU, each row from its own generator, so that a clip's noise does not depend on its batch."""
    return torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in generators]).to(like.device)


def _given_frames(model: DiffusionModel, batch: Batch, noise_BVTHWC: Tensor, config: Sampler) -> Observed | None:
    if not takes_observed(model, batch):
        return None
    ones_B, given_BVT = torch.ones(batch.size, device=batch.target.device), batch.given_BVT()
    return observe(
        batch.target.float() * SIGMA_DATA,
        leading(torch.zeros_like(ones_B), batch.target) if given_BVT is None else given_BVT,
        keep_B=ones_B.bool(),
        augment_sigma_B=ones_B * config.augment_sigma,
        noise_BVTHWC=noise_BVTHWC,
    )


def _guided(
    model: DiffusionModel,
    x_BVTHWC: Tensor,
    sigma: float,
    batch: Batch,
    condition: Condition,
    null: Condition,
    observed: Observed | None,
    config: Sampler,
) -> Tensor:
    def clean(given: Condition) -> Tensor:
        return denoise(
            model,
            x_BVTHWC,
            x_BVTHWC.new_full((batch.size,), sigma),
            given,
            fps_hz_B=batch.fps_hz_B,
            observed=observed,
            show_observed=config.augment_sigma < sigma,
        )

    x0_BVTHWC = clean(condition)
    return x0_BVTHWC if config.guidance == 0 else x0_BVTHWC + config.guidance * (x0_BVTHWC - clean(null))
