"""Where a cell is: rotary tables and the absolute embedding that every block adds (facts: 3-D RoPE V2, YaRN).

Shape legend: T latent frames, H W latent grid, D width, E half of a head's dimension.
"""

import math

import torch
from torch import Tensor

from worldtune.families.autoregressive.config import NetworkConfig


def split_three(dim: int) -> tuple[int, int, int]:
    """Channels for t, h and w: a third each, rounded to even, the rest to t."""
    spatial = dim // 6 * 2
    return dim - 2 * spatial, spatial, spatial


def join_axes(t_TD: Tensor, h_HD: Tensor, w_WD: Tensor) -> Tensor:
    """Lay one table per axis side by side on the grid: [T, H, W, Dt + Dh + Dw]."""
    grid = (t_TD.shape[0], h_HD.shape[0], w_WD.shape[0], -1)
    return torch.cat([t_TD[:, None, None].expand(grid), h_HD[:, None].expand(grid), w_WD.expand(grid)], dim=-1)


def frequencies(config: NetworkConfig, dim: int, old_length: int, device: torch.device) -> Tensor:
    """Rotary frequencies of one axis with YaRN, float32 [dim / 2].

    Frequencies that turn often within the length of the model that was extended stay, slow ones are divided by the
    scale, those between are mixed. YaRN's attention factor is not applied: NVIDIA's network does not apply it either.
    """
    exponent = torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim
    plain = 1.0 / config.rope_theta**exponent
    low = 2 * math.pi * config.yarn_beta_slow / old_length
    high = 2 * math.pi * config.yarn_beta_fast / old_length
    kept = ((plain - low) / (high - low)).clamp(0, 1)
    return plain * ((1 - kept) / config.yarn_scale + kept)


def rotary_angles(config: NetworkConfig, frames: int, height: int, width: int, device: torch.device) -> Tensor:
    """Rotary angles, float32 [T, H, W, E]; channels are ordered t, h, w."""
    old_lengths = (config.yarn_frames, config.yarn_side, config.yarn_side)
    tables = [
        torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequencies(config, dim, old, device)
        for length, dim, old in zip((frames, height, width), split_three(config.head_dim), old_lengths, strict=True)
    ]
    return join_axes(*tables)


def sincos_axis(length: int, dim: int, device: torch.device) -> Tensor:
    """Fixed embedding of one axis, sines then cosines, float32 [length, dim].

    Rounded to bfloat16, because NVIDIA's networks add it so at every precision.
    """
    half = dim // 2
    rate = 10000.0 ** (-torch.arange(half, device=device, dtype=torch.float64) / half)
    angles = torch.arange(length, device=device, dtype=torch.float64)[:, None] * rate
    return torch.cat([angles.sin(), angles.cos()], dim=-1).bfloat16().float()


def sincos_positions(dim: int, frames: int, height: int, width: int, device: torch.device) -> Tensor:
    """Fixed absolute embedding, float32 [T, H, W, D]; channels are ordered t, h, w."""
    lengths = (frames, height, width)
    return join_axes(*(sincos_axis(n, d, device) for n, d in zip(lengths, split_three(dim), strict=True)))
