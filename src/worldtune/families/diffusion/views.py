"""Input channels of the multi-camera driving models: who the view is, and where the car will go.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels, K numbers of a trajectory.
"""

import torch
from torch import Tensor, nn

from worldtune.families.diffusion.config import NetworkConfig


class ViewChannels(nn.Module):
    """A learned identity per camera, plus a linear map of how often its frames were repeated."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.identity = nn.Parameter(torch.empty(config.num_views, config.view_channels))
        self.repeat = nn.Linear(1, config.view_channels) if config.frame_repeat else None

    def reset_parameters(self) -> None:
        """Normal identities, std 1; the linear map is set by the network's own pass."""
        nn.init.normal_(self.identity)
        if self.repeat is not None:
            nn.init.zeros_(self.repeat.bias)

    def forward(self, x_BVTHWC: Tensor, camera_BV: Tensor | None, frame_repeat_BV: Tensor | None) -> Tensor:
        """[B, V, T, H, W, view channels], constant within a view. camera: which identity each view has; None: in order.

        ValueError for a camera that the network does not know.
        """
        batch, views = x_BVTHWC.shape[:2]
        if camera_BV is None:
            rows_BVC = self.identity[:views].expand(batch, -1, -1)
        elif int(camera_BV.max()) >= len(self.identity):
            raise ValueError(f"the network knows {len(self.identity)} views, got view {int(camera_BV.max()) + 1}")
        else:
            rows_BVC = self.identity[camera_BV]
        rows_BVC = rows_BVC.to(x_BVTHWC.dtype)
        if self.repeat is not None:
            tens_BV = x_BVTHWC.new_zeros(batch, views) if frame_repeat_BV is None else frame_repeat_BV
            rows_BVC = rows_BVC + self.repeat(tens_BV[..., None].to(x_BVTHWC.dtype))
        return rows_BVC[:, :, None, None, None].expand(*x_BVTHWC.shape[:5], -1)


class TrajectoryChannels(nn.Module):
    """A linear map of the flattened ego trajectory, the same for every view and cell."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(config.trajectory_numbers, config.trajectory_channels)

    def reset_parameters(self) -> None:
        """Zero bias; the weight is set by the network's own pass."""
        nn.init.zeros_(self.proj.bias)

    def forward(self, x_BVTHWC: Tensor, trajectory_BK: Tensor) -> Tensor:
        """[B, V, T, H, W, trajectory channels], constant within a sample."""
        rows_BC = self.proj(trajectory_BK.to(x_BVTHWC.dtype))
        return rows_BC[:, None, None, None, None].expand(*x_BVTHWC.shape[:5], -1)
