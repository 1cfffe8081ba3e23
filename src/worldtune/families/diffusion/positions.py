"""Where a token is: rotary tables and the absolute embeddings that every block adds.

Positions restart in every view. All tables are plain tensors, computed in float32 for the grid at hand; they cost
less than one block's elementwise work, so nothing is cached.

Shape legend: B batch, T latent frames of one view, H W grid in patches, S = H W tokens of one frame, D width,
E half of a head's dimension.
"""

import torch
from torch import Tensor, nn

from worldtune.families.diffusion.config import NetworkConfig


def split_three(dim: int) -> tuple[int, int, int]:
    """Channels for t, h and w: a third each, rounded to even, the rest to t."""
    spatial = dim // 6 * 2
    return dim - 2 * spatial, spatial, spatial


def axis_angles(position: Tensor, dim: int, ratio: float) -> Tensor:
    """Rotary angles of one axis, [..., dim / 2], with the base stretched by `ratio` (NTK rule)."""
    theta = 10000.0 * ratio ** (dim / (dim - 2))
    exponent = torch.arange(0, dim, 2, device=position.device, dtype=torch.float32) / dim
    return position[..., None] * (1.0 / theta**exponent)


def join_axes(t_BTD: Tensor, h_HD: Tensor, w_WD: Tensor) -> Tensor:
    """Lay one table per axis side by side on the grid: [B, T, S, Dt + Dh + Dw]."""
    (batch, frames), height, width = t_BTD.shape[:2], h_HD.shape[0], w_WD.shape[0]
    grid = (batch, frames, height, width, -1)
    parts = (t_BTD[:, :, None, None].expand(grid), h_HD[:, None].expand(grid), w_WD.expand(grid))
    return torch.cat(parts, dim=-1).flatten(2, 3)


def rotary_tables(
    config: NetworkConfig, frames: int, height: int, width: int, fps_hz_B: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles, two float32 [B, T, S, E].

    Channels are ordered t, h, w (facts: 3-D RoPE of Cosmos GeneralDIT). Without fps time is counted in latent frames
    and B is 1; with fps it is counted in frames of `base_fps_hz`.
    """
    dim_t, dim_h, dim_w = split_three(config.head_dim)
    index_T = torch.arange(frames, device=device, dtype=torch.float32)
    time_BT = index_T[None]
    if fps_hz_B is not None:
        time_BT = time_BT / fps_hz_B.to(device, torch.float32)[:, None] * config.base_fps_hz
    angles_t = axis_angles(time_BT, dim_t, config.rope_ratio_t)
    angles_h = axis_angles(torch.arange(height, device=device, dtype=torch.float32), dim_h, config.rope_ratio_h)
    angles_w = axis_angles(torch.arange(width, device=device, dtype=torch.float32), dim_w, config.rope_ratio_w)
    cos = join_axes(angles_t.cos(), angles_h.cos(), angles_w.cos())
    sin = join_axes(angles_t.sin(), angles_h.sin(), angles_w.sin())
    return cos, sin


def sincos_axis(length: int, dim: int, device: torch.device) -> Tensor:
    """Fixed embedding of one axis, sines then cosines, float32 [length, dim]."""
    half = dim // 2
    rate = 10000.0 ** (-torch.arange(half, device=device, dtype=torch.float64) / half)
    angles = torch.arange(length, device=device, dtype=torch.float64)[:, None] * rate
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def sincos_positions(dim: int, frames: int, height: int, width: int, device: torch.device) -> Tensor:
    """Fixed absolute embedding, float32 [1, T, S, D]; channels are ordered t, h, w."""
    dim_t, dim_h, dim_w = split_three(dim)
    t_TD, h_HD = sincos_axis(frames, dim_t, device), sincos_axis(height, dim_h, device)
    return join_axes(t_TD[None], h_HD, sincos_axis(width, dim_w, device))


class LearnablePositions(nn.Module):
    """Learned absolute embedding: t + h + w, scaled to unit RMS."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.empty(config.max_frames, config.width))
        self.h = nn.Parameter(torch.empty(config.max_height // config.patch_spatial, config.width))
        self.w = nn.Parameter(torch.empty(config.max_width // config.patch_spatial, config.width))

    def reset_parameters(self) -> None:
        """Truncated normal, std 0.02."""
        for table in (self.t, self.h, self.w):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, frames: int, height: int, width: int) -> Tensor:
        """Float32 [1, T, S, D]: the first rows of every table."""
        t, h, w = self.t[:frames].float(), self.h[:height].float(), self.w[:width].float()
        total = (t[:, None, None] + h[:, None] + w).flatten(1, 2)
        root_mean_square = torch.linalg.vector_norm(total, dim=-1, keepdim=True) / total.shape[-1] ** 0.5
        return (total / (1e-6 + root_mean_square))[None]
