"""Causal layers of the video tokenizer. Attribute names are NVIDIA's, so they are also the checkpoint's key names.

Shape legend: B batch, C channels, T frames, H W rows and columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.networks.causal_video.config import Step
from worldtune.networks.causal_video.past import Past, starts_clip, with_frames_before


class CausalConv3d(nn.Module):
    """A 3-D convolution that sees no later frame: earlier frames fill the gap on the left, zeros the borders."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1),
        padding_px: int = 0,
    ) -> None:
        super().__init__()
        self.num_frames_before = kernel[0] - stride[0]
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel, stride, padding=(0, padding_px, padding_px))

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        if self.num_frames_before:
            x_BCTHW = with_frames_before(self, x_BCTHW, self.num_frames_before, past)
        return self.conv3d(x_BCTHW)


class FactorizedConv(nn.ModuleList):
    """A 3 x 3 x 3 convolution as two: within frames, then along time."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            [
                CausalConv3d(in_channels, out_channels, (1, 3, 3), padding_px=1),
                CausalConv3d(out_channels, out_channels, (3, 1, 1)),
            ]
        )

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        return self[1](self[0](x_BCTHW), past)


class FrameNorm(nn.Module):
    """Group normalisation with one group, each frame on its own, so that it stays causal."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, eps=1e-6)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        frames = self.norm(x_BCTHW.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (x_BCTHW.shape[0], -1)).transpose(1, 2)


class ResBlock(nn.Module):
    """Norm, SiLU, convolution, twice, plus the input."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = FrameNorm(in_channels)
        self.conv1 = FactorizedConv(in_channels, out_channels)
        self.norm2 = FrameNorm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = FactorizedConv(out_channels, out_channels)
        if in_channels == out_channels:
            self.nin_shortcut: nn.Module = nn.Identity()
        else:
            self.nin_shortcut = CausalConv3d(in_channels, out_channels)

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x_BCTHW)), past)
        h = self.conv2(self.dropout(F.silu(self.norm2(h))), past)
        return self.nin_shortcut(x_BCTHW) + h


class Downsample(nn.Module):
    """Halve space, then time, each by a strided convolution plus an average, then mix channels."""

    def __init__(self, channels: int, step: Step) -> None:
        super().__init__()
        self.step = step
        if step.spatial:
            self.conv1 = CausalConv3d(channels, channels, (1, 3, 3), stride=(1, 2, 2))
        if step.temporal:
            self.conv2 = CausalConv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1))
        if step.spatial or step.temporal:
            self.conv3 = CausalConv3d(channels, channels)

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        """Height and width must be even. [.., 1 + 2k, ..] frames give 1 + k; a later window has 2k and gives k."""
        x = x_BCTHW
        if self.step.spatial:
            # The zero row and column on the far side are the third tap of the last stride.
            padded = F.pad(x, (0, 1, 0, 1))
            x = self.conv1(padded) + _mean_of_pairs(_mean_of_pairs(x, 3), 4)
        if self.step.temporal:
            if starts_clip(past):
                x = torch.cat([x[:, :, :1], x], 2)
            x = self.conv2(x, past) + _mean_of_pairs(x, 2)
        return self.conv3(x) if self.step.spatial or self.step.temporal else x


def _mean_of_pairs(x: Tensor, axis: int) -> Tensor:
    return x.unflatten(axis, (-1, 2)).mean(axis + 1)


class Upsample(nn.Module):
    """Double time, then space, each by repetition plus a convolution of it, then mix channels."""

    def __init__(self, channels: int, step: Step) -> None:
        super().__init__()
        self.step = step
        if step.temporal:
            self.conv1 = CausalConv3d(channels, channels, (3, 1, 1))
        if step.spatial:
            self.conv2 = CausalConv3d(channels, channels, (1, 3, 3), padding_px=1)
        if step.spatial or step.temporal:
            self.conv3 = CausalConv3d(channels, channels)

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        """1 + k frames give 1 + 2k: the clip's first frame is not doubled. A later window has k and gives 2k."""
        x = x_BCTHW
        if self.step.temporal:
            x = x.repeat_interleave(2, 2)
            if starts_clip(past):
                x = x[:, :, 1:]
            x = self.conv1(x, past) + x
        if self.step.spatial:
            x = x.repeat_interleave(2, 3).repeat_interleave(2, 4)
            x = self.conv2(x) + x
        return self.conv3(x) if self.step.spatial or self.step.temporal else x
