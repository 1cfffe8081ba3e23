"""EDM denoising loss with video conditioning and a learned log-variance (Karras et al. 2022 and 2024).

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels; 1 broadcasts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch, leading
from worldtune.families.diffusion.denoiser import (
    SIGMA_DATA,
    Observed,
    denoise,
    observe,
    over_latents,
    scaling,
    takes_observed,
)
from worldtune.families.diffusion.logvariance import DiffusionModel


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Settings of the training objective. The defaults are those of Cosmos-Predict1 Video2World."""

    sigma_p_mean: float = 0.0
    """Mean of ln(sigma) before the multiplier."""
    sigma_p_std: float = 1.0
    """Standard deviation of ln(sigma)."""
    sigma_multiplier: float = 1.0
    """Factor on sigma. Longer videos need more noise: Cosmos takes sqrt(latent frames) = 4 for 121 frames."""
    num_observed_min: int = 0
    """Fewest leading latent frames that are given."""
    num_observed_max: int = 2
    """Most leading latent frames that are given. Not read by a network without a condition mask."""
    first_view_observed: float = 0.0
    """Probability 0..1 that the whole first view is given: the other cameras then learn to follow it."""
    observed_dropout: float = 0.0
    """Probability 0..1 that the given frames are hidden from the network."""
    augment_sigma_p_mean: float = -3.0
    """Mean of ln(sigma) of the noise on given frames, before the multiplier."""
    augment_sigma_p_std: float = 2.0
    """Standard deviation of that ln(sigma)."""
    augment_sigma_multiplier: float = 1.0
    """Factor on that sigma."""
    learn_variance: bool = True
    """Weigh noise levels by the learned log-variance head."""
    loss_scale: float = 1.0
    """Factor on the whole loss."""

    def __post_init__(self) -> None:
        if not 0 <= self.num_observed_min <= self.num_observed_max:
            raise ValueError(
                f"objective: wanted 0 <= num_observed_min <= num_observed_max, got {self.num_observed_min} and "
                f"{self.num_observed_max}"
            )
        for name in ("observed_dropout", "first_view_observed"):
            if not 0 <= vars(self)[name] <= 1:
                raise ValueError(f"objective: {name} must lie in 0..1, got {vars(self)[name]}")
        for name in ("sigma_p_std", "augment_sigma_p_std"):
            if not vars(self)[name] >= 0:
                raise ValueError(f"objective: {name} must not be negative, got {vars(self)[name]}")
        for name in ("sigma_multiplier", "augment_sigma_multiplier", "loss_scale"):
            if not vars(self)[name] > 0:
                raise ValueError(f"objective: {name} must be positive, got {vars(self)[name]}")


def loss(
    model: DiffusionModel, batch: Batch, condition: Condition, generator: torch.Generator, config: Objective
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over all elements of exp(-u) w (x0 - clean)^2 + u, with w = (sigma^2 + sd^2) / (sigma sd)^2.

    Given frames count as zero error, as in Cosmos. When the batch says which frames are given (validation), those are
    and none is hidden. All randomness comes from the CPU generator, whatever the device.

    Parts: `x0_mse` error of the generated frames in units of the latents' variance, `weighted` the loss without the
    learned variance, `log_variance` u, `sigma`; each a mean over the batch.

    Raises ValueError when every frame would be given, or when frames are given to a network without a condition mask.
    """
    clean_BVTHWC = batch.target.float() * SIGMA_DATA
    device = clean_BVTHWC.device
    sigma_B = draw_sigma(batch.size, generator, config).to(device)
    noise_BVTHWC = torch.randn(clean_BVTHWC.shape, generator=generator).to(device)
    observed = _draw_observed(clean_BVTHWC, batch, generator, config) if takes_observed(model, batch) else None
    x_BVTHWC = clean_BVTHWC + noise_BVTHWC * over_latents(sigma_B)
    x0_BVTHWC = denoise(model, x_BVTHWC, sigma_B, condition, fps_hz_B=batch.fps_hz_B, observed=observed)

    error_B = (x0_BVTHWC - clean_BVTHWC).square().flatten(1).mean(1)
    weighted_B = error_B * (sigma_B.square() + SIGMA_DATA**2) / (sigma_B * SIGMA_DATA).square()
    u_B = model.logvar(scaling(sigma_B).noise_B).float() if config.learn_variance else torch.zeros_like(sigma_B)
    total = config.loss_scale * (weighted_B * (-u_B).exp() + u_B).mean()
    parts = {
        "x0_mse": (error_B / _generated_share(observed, error_B)).mean() / SIGMA_DATA**2,
        "weighted": weighted_B.mean(),
        "log_variance": u_B.mean(),
        "sigma": sigma_B.mean(),
    }
    return total, {name: value.detach() for name, value in parts.items()}


def draw_sigma(size: int, generator: torch.Generator, config: Objective) -> Tensor:
    """Noise levels, log-normal, [B] on the CPU."""
    log_sigma_B = torch.randn(size, generator=generator) * config.sigma_p_std + config.sigma_p_mean
    return log_sigma_B.exp() * config.sigma_multiplier


def _draw_observed(clean_BVTHWC: Tensor, batch: Batch, generator: torch.Generator, config: Objective) -> Observed:
    size, device = batch.size, clean_BVTHWC.device
    num_B = torch.randint(config.num_observed_min, config.num_observed_max + 1, (size,), generator=generator)
    keep_B = torch.rand(size, generator=generator) >= config.observed_dropout
    augment_B = torch.randn(size, generator=generator) * config.augment_sigma_p_std + config.augment_sigma_p_mean
    said_BVT = batch.given_BVT()
    if said_BVT is None:
        given_BVT, most = leading(num_B, clean_BVTHWC), config.num_observed_max
        if config.first_view_observed > 0:
            chosen_B = torch.rand(size, generator=generator) < config.first_view_observed
            given_BVT = _with_first_view(given_BVT, chosen_B.to(device))
    else:
        given_BVT, keep_B, most = said_BVT, torch.ones_like(keep_B), int(said_BVT.sum(2).amin(1).max())
    if most >= clean_BVTHWC.shape[2]:
        raise ValueError(
            f"up to {most} latent frames are given, but clips have {clean_BVTHWC.shape[2]}: lower num_observed_max, "
            "or take longer clips"
        )
    return observe(
        clean_BVTHWC,
        given_BVT,
        keep_B=keep_B.to(device),
        augment_sigma_B=augment_B.exp().to(device) * config.augment_sigma_multiplier,
        noise_BVTHWC=torch.randn(clean_BVTHWC.shape, generator=generator).to(device),
    )


def _with_first_view(given_BVT: Tensor, chosen_B: Tensor) -> Tensor:
    """The first view is given whole where chosen. ValueError when there is no other view to generate."""
    if given_BVT.shape[1] == 1:
        raise ValueError("objective: first_view_observed needs clips of several views, these have one")
    is_first_V1 = torch.arange(given_BVT.shape[1], device=given_BVT.device)[:, None] == 0
    return given_BVT | (is_first_V1 & chosen_B[:, None, None])


def _generated_share(observed: Observed | None, like_B: Tensor) -> Tensor:
    """Share of the frames that are not given, [B]."""
    if observed is None:
        return torch.ones_like(like_B)
    return 1 - observed.is_observed_BVT111.to(like_B.dtype).flatten(1).mean(1)
