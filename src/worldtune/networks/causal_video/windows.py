"""Running a tokenizer over many long clips in bounded memory, with the result of one pass.

Shape legend: B clips, V views, C channels, T pixel frames, t latent frames, H W pixels, h w latent cells.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from worldtune.contract.latents import latent_grid
from worldtune.networks.causal_video.autoencoder import Autoencoder
from worldtune.networks.causal_video.config import TokenizerConfig
from worldtune.networks.causal_video.past import Past


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How much goes through the network at once. Only memory and speed depend on it."""

    clips: int = 1
    """Clips in one pass."""
    latent_frames: int = 16
    """Latent frames in one window of a pass; the layers' memory of earlier frames makes windows seamless."""

    def __post_init__(self) -> None:
        if self.clips < 1 or self.latent_frames < 1:
            raise ValueError(f"a pass needs at least 1 clip and 1 latent frame, got {self}")


def require_video(config: TokenizerConfig, video_BVTHWC: Tensor) -> None:
    """ValueError unless this is uint8 video [B,V,T,H,W,C] that fits a latent grid."""
    if video_BVTHWC.ndim != 6 or video_BVTHWC.shape[-1] != config.in_channels:
        raise ValueError(f"expected video [B,V,T,H,W,{config.in_channels}], got shape {list(video_BVTHWC.shape)}")
    if video_BVTHWC.dtype != torch.uint8:
        raise ValueError(f"the codec encodes uint8 video, got {video_BVTHWC.dtype}")
    num_views, num_frames, height_px, width_px = video_BVTHWC.shape[1:5]
    latent_grid(config, views=num_views, frames=num_frames, height_px=height_px, width_px=width_px)


@torch.no_grad()
def encode(network: Autoencoder, video_BTHWC: Tensor, passes: Passes) -> Tensor:
    """uint8 [B,T,H,W,3] -> what `network.encode` gives for it, float32 [B,t,h,w,C] on the video's device."""
    weight = network.quant_conv.conv3d.weight

    def window(pixels_BTHWC: Tensor, past: Past | None) -> Tensor:
        pixels_BCTHW = pixels_BTHWC.to(weight.device).permute(0, 4, 1, 2, 3)
        latent_BCTHW = network.encode((pixels_BCTHW.float() / 127.5 - 1).to(weight.dtype), past)
        return latent_BCTHW.permute(0, 2, 3, 4, 1).to(video_BTHWC.device, torch.float32)

    r = network.config.frames_per_latent
    later = r * passes.latent_frames
    return _in_windows(window, video_BTHWC, passes.clips, first=later - r + 1, later=later)


@torch.no_grad()
def decode(network: Autoencoder, latent_BTHWC: Tensor, passes: Passes) -> Tensor:
    """Latents [B,t,h,w,C] -> uint8 [B,T,H,W,3] on the latents' device; values beyond [-1, 1] are clamped."""
    weight = network.quant_conv.conv3d.weight

    def window(latents_BTHWC: Tensor, past: Past | None) -> Tensor:
        latents_BCTHW = latents_BTHWC.to(weight.device, weight.dtype).permute(0, 4, 1, 2, 3)
        video_BCTHW = network.decode(latents_BCTHW, past).float().clamp(-1, 1)
        return ((video_BCTHW + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).to(latent_BTHWC.device)

    return _in_windows(window, latent_BTHWC, passes.clips, first=passes.latent_frames, later=passes.latent_frames)


def _in_windows(
    run: Callable[[Tensor, Past | None], Tensor], x_BTHWC: Tensor, num_clips: int, *, first: int, later: int
) -> Tensor:
    parts = x_BTHWC.split(num_clips)
    if x_BTHWC.shape[1] <= first:
        return torch.cat([run(part_BTHWC, None) for part_BTHWC in parts])
    return torch.cat([torch.cat(list(_successive(run, part_BTHWC, first, later)), 1) for part_BTHWC in parts])


def _successive(
    run: Callable[[Tensor, Past | None], Tensor], x_BTHWC: Tensor, first: int, later: int
) -> Iterator[Tensor]:
    past = Past()
    for window_BTHWC in (x_BTHWC[:, :first], *x_BTHWC[:, first:].split(later, 1)):
        yield run(window_BTHWC, past)
        past.advance()
