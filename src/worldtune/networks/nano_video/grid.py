"""From pixels to the latent grid and back.

Shape legend: B clips, T frames, H W rows and columns, C channels, N latent frames of all clips.
"""

import torch
from torch import Tensor

from worldtune.contract.latents import latent_grid
from worldtune.networks.nano_video.network import Autoencoder, from_groups, to_groups

MAX_CLIPS = 16
"""Clips of one view that go through the network together; bounds memory."""


@torch.inference_mode()
def encode(network: Autoencoder, video_BTHWC: Tensor) -> Tensor:
    """uint8 [B,T,H,W,3] -> latents before any quantisation, float32 [B,t,h,w,C]."""
    _, frames, height, width, _ = video_BTHWC.shape
    grid = latent_grid(network.config, views=1, frames=frames, height_px=height, width_px=width)
    parts = []
    for video in video_BTHWC.split(MAX_CLIPS):
        x_NCHW = to_groups(video.float() / 127.5 - 1, network.config.frames_per_latent)
        z_NCHW = network.encoder(x_NCHW, grid.frames)
        parts.append(z_NCHW.unflatten(0, (-1, grid.frames)).permute(0, 1, 3, 4, 2))
    return torch.cat(parts).contiguous()


@torch.inference_mode()
def decode(network: Autoencoder, z_BTHWC: Tensor) -> Tensor:
    """Latents or codes [B,t,h,w,C] -> uint8 [B,T,H,W,3]."""
    frames = z_BTHWC.shape[1]
    parts = []
    for z in z_BTHWC.float().split(MAX_CLIPS):
        z_NCHW = z.permute(0, 1, 4, 2, 3).flatten(0, 1).contiguous()
        video = from_groups(network.decoder(z_NCHW, frames), frames, network.config.frames_per_latent)
        parts.append(((video + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)
