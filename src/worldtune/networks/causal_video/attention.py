"""Attention of the video tokenizer: single head, within a frame, and along time without seeing later frames.

Shape legend: B batch, C channels, T frames, H W rows and columns, N rows or frames that attend to each other.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.networks.causal_video.layers import CausalConv3d, FrameNorm
from worldtune.networks.causal_video.past import Past


class SpatialAttention(nn.Module):
    """Each cell attends to all cells of its own frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = FrameNorm(channels)
        self.q = CausalConv3d(channels, channels)
        self.k = CausalConv3d(channels, channels)
        self.v = CausalConv3d(channels, channels)
        self.proj_out = CausalConv3d(channels, channels)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        h = self.norm(x_BCTHW)
        # [B,C,T,H,W] -> [B,T,1,N,C]
        q, k, v = (layer(h).permute(0, 2, 3, 4, 1).flatten(2, 3).unsqueeze(2) for layer in (self.q, self.k, self.v))
        out_BTNC = F.scaled_dot_product_attention(q, k, v).squeeze(2)
        out_BCTHW = out_BTNC.unflatten(2, x_BCTHW.shape[3:]).permute(0, 4, 1, 2, 3)
        return x_BCTHW + self.proj_out(out_BCTHW)


class TemporalAttention(nn.Module):
    """Each cell attends to the same cell of this and all earlier frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = FrameNorm(channels)
        self.q = CausalConv3d(channels, channels)
        self.k = CausalConv3d(channels, channels)
        self.v = CausalConv3d(channels, channels)
        self.proj_out = CausalConv3d(channels, channels)

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        h = self.norm(x_BCTHW)
        # [B,C,T,H,W] -> [B,N,1,T,C]
        q, k, v = (layer(h).flatten(3).permute(0, 3, 2, 1).unsqueeze(2) for layer in (self.q, self.k, self.v))
        k, v = self._with_past(torch.stack([k, v]), past)
        num_new, num_all = q.shape[3], k.shape[3]
        is_seen = torch.ones(num_new, num_all, dtype=torch.bool, device=q.device).tril(num_all - num_new)
        out_BNTC = F.scaled_dot_product_attention(q, k, v, attn_mask=is_seen).squeeze(2)
        out_BCTHW = out_BNTC.permute(0, 3, 2, 1).unflatten(3, x_BCTHW.shape[3:])
        return x_BCTHW + self.proj_out(out_BCTHW)

    def _with_past(self, keys_and_values: Tensor, past: Past | None) -> tuple[Tensor, Tensor]:
        if past is not None:
            before = past.recall(self)
            if before is not None:
                keys_and_values = torch.cat([before, keys_and_values], 4)
            past.remember(self, keys_and_values)
        return keys_and_values[0], keys_and_values[1]


class AttentionPair(nn.ModuleList):
    """Attention within frames, then along time."""

    def __init__(self, channels: int) -> None:
        super().__init__([SpatialAttention(channels), TemporalAttention(channels)])

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        return self[1](self[0](x_BCTHW), past)
