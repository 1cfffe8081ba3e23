"""EDM preconditioning and the observed frames: what the objective and the sampler share.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels, L text tokens, D width; 1 broadcasts.
Latents here have standard deviation SIGMA_DATA, where a batch's target has standard deviation 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch
from worldtune.families.diffusion.logvariance import DiffusionModel

SIGMA_DATA = 0.5
"""Standard deviation of the latents that every base of this family was trained on."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The four EDM factors (Karras et al. 2022, table 1) of one noise level per sample, each [B,1,1,1,1,1]."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise_B: Tensor
    """What the network is told about the noise level, ln(sigma) / 4, [B]."""


def scaling(sigma_B: Tensor) -> Scaling:
    """Factors for noise of standard deviation sigma_B > 0."""
    sigma = over_latents(sigma_B)
    total = sigma.square() + SIGMA_DATA**2
    return Scaling(
        skip=SIGMA_DATA**2 / total,
        out=sigma * SIGMA_DATA / total.sqrt(),
        into=1 / total.sqrt(),
        noise_B=sigma_B.log() / 4,
    )


def over_latents(value_B: Tensor) -> Tensor:
    """[B] as [B,1,1,1,1,1]."""
    return value_B[:, None, None, None, None, None]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The latent frames that the network is given instead of noise."""

    clean_BVTHWC: Tensor
    """True latents; frames that are not observed are not looked at."""
    shown_BVTHWC: Tensor
    """What the network sees in their place, at input scale."""
    is_observed_BVT111: Tensor
    """bool."""
    mask_BVT11: Tensor
    """1 where the network is told that a frame is given. 0 everywhere for a sample whose observation is dropped."""


def observe(
    clean_BVTHWC: Tensor, given_BVT: Tensor, *, keep_B: Tensor, augment_sigma_B: Tensor, noise_BVTHWC: Tensor
) -> Observed:
    """Give the latent frames where given_BVT is True, with a little noise of augment_sigma_B on them.

    They arrive scaled as though their own noise level were augment_sigma_B. Where keep_B is False the frames and their
    mask are zero. Source: Cosmos-Predict1 video conditioning, `first_random_n`, `noise_with_sigma`.
    """
    noisy = clean_BVTHWC + noise_BVTHWC * over_latents(augment_sigma_B)
    return Observed(
        clean_BVTHWC=clean_BVTHWC,
        shown_BVTHWC=noisy * scaling(augment_sigma_B).into * over_latents(keep_B),
        is_observed_BVT111=given_BVT[..., None, None, None],
        mask_BVT11=(given_BVT & keep_B[:, None, None]).to(clean_BVTHWC.dtype)[..., None, None],
    )


def takes_observed(model: DiffusionModel, batch: Batch) -> bool:
    """Whether the network can be told which frames are given. ValueError when it cannot and the batch gives some."""
    takes_mask: bool = model.net.config.condition_mask
    given_BVT = batch.given_BVT()
    if not takes_mask and given_BVT is not None and bool(given_BVT.any()):
        raise ValueError("frames are given, but this base has no condition mask: take a video2world base")
    return takes_mask


def compute_dtype(model: DiffusionModel, device: torch.device) -> torch.dtype:
    """The dtype of the network's activations: autocast's where it is on, else that of the weights."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    weight: Tensor = model.net.patch_embed.weight
    return weight.dtype


def denoise(
    model: DiffusionModel,
    x_BVTHWC: Tensor,
    sigma_B: Tensor,
    condition: Condition,
    *,
    fps_hz_B: Tensor,
    observed: Observed | None,
    show_observed: bool = True,
) -> Tensor:
    """The network's estimate of the clean latents in x = clean + sigma noise, in the dtype of x.

    A network that knows views or trajectories is told those of `condition.released`; another one leaves them out.
    Observed frames are replaced on the way in and on the way out, so they receive no gradient. `show_observed` False
    leaves the input as it is.
    """
    _, views, frames, height, width, _ = x_BVTHWC.shape
    condition = condition.on_grid(views, frames, height, width)
    factors = scaling(sigma_B.to(x_BVTHWC.dtype))
    seen_BVTHWC = (factors.into * x_BVTHWC).float()
    mask_BVTHW = None
    if observed is not None:
        mask_BVTHW = observed.mask_BVT11.expand(-1, -1, -1, height, width)
        if show_observed:
            seen_BVTHWC = torch.where(observed.is_observed_BVT111, observed.shown_BVTHWC, seen_BVTHWC)
    config, released = model.net.config, condition.released
    trajectory_BK = released.trajectory_BK
    if trajectory_BK is None:
        trajectory_BK = x_BVTHWC.new_zeros(len(x_BVTHWC), config.trajectory_numbers)
    out_BVTHWC = model.net(
        seen_BVTHWC.to(compute_dtype(model, x_BVTHWC.device)),
        factors.noise_B.float(),
        text_BVLD=condition.text_BVLD,
        fps_hz_B=fps_hz_B,
        condition_mask_BVTHW=mask_BVTHW,
        frame_BVTD=condition.frame_BVTD,
        dense_BVTHWC=condition.dense_BVTHWC,
        camera_BV=released.camera_BV,
        frame_repeat_BV=released.frame_repeat_BV if config.frame_repeat else None,
        trajectory_BK=trajectory_BK if config.trajectory_numbers else None,
    )
    clean_BVTHWC = factors.skip * x_BVTHWC + factors.out * out_BVTHWC.to(x_BVTHWC.dtype)
    if observed is None:
        return clean_BVTHWC
    return torch.where(observed.is_observed_BVT111, observed.clean_BVTHWC.to(x_BVTHWC.dtype), clean_BVTHWC)
