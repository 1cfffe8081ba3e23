"""Encoder, decoder, and the two 1x1x1 convolutions around the latent.

Shape legend: B batch, C channels, T frames, H W rows and columns (capitals: pixels; latents are smaller).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.networks.causal_video.attention import AttentionPair
from worldtune.networks.causal_video.config import TokenizerConfig
from worldtune.networks.causal_video.layers import (
    CausalConv3d,
    Downsample,
    FactorizedConv,
    FrameNorm,
    ResBlock,
    Upsample,
)
from worldtune.networks.causal_video.past import Past
from worldtune.networks.causal_video.wavelet import fold, unfold


class Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention where the level attends, then a resampling."""

    def __init__(
        self,
        widths: Sequence[int],
        *,
        attends: bool,
        dropout: float,
        downsample: Downsample | None = None,
        upsample: Upsample | None = None,
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(before, after, dropout) for before, after in pairwise(widths))
        self.attn = nn.ModuleList(AttentionPair(width) for width in widths[1:] if attends)
        self.downsample = downsample
        self.upsample = upsample

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        for i, block in enumerate(self.block):
            x_BCTHW = block(x_BCTHW, past)
            if self.attn:
                x_BCTHW = self.attn[i](x_BCTHW, past)
        if self.downsample is not None:
            x_BCTHW = self.downsample(x_BCTHW, past)
        if self.upsample is not None:
            x_BCTHW = self.upsample(x_BCTHW, past)
        return x_BCTHW


class Middle(nn.Module):
    """Residual block, attention, residual block, at the coarsest resolution."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels, dropout)
        self.attn_1 = AttentionPair(channels)
        self.block_2 = ResBlock(channels, channels, dropout)

    def forward(self, x_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x_BCTHW, past), past), past)


class Encoder(nn.Module):
    """Video in [-1, 1] -> `z_channels` features on the latent grid (facts: Cosmos tokenizer 2.2)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels] + [config.channels * multiple for multiple in config.channels_mult]
        self.conv_in = FactorizedConv(config.in_channels * config.patch_size**3, widths[0])
        self.down = nn.ModuleList()
        for i, (before, after) in enumerate(pairwise(widths)):
            is_last = i == config.num_levels - 1
            level = Level(
                [before] + [after] * config.num_res_blocks,
                attends=config.encoder_attends(i),
                dropout=config.dropout,
                downsample=None if is_last else Downsample(after, config.down_steps[i]),
            )
            self.down.append(level)
        self.mid = Middle(widths[-1], config.dropout)
        self.norm_out = FrameNorm(widths[-1])
        self.conv_out = FactorizedConv(widths[-1], config.z_channels)

    def forward(self, video_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        h = self.conv_in(fold(video_BCTHW, self.config.patch_size, self.config.patch_method, past), past)
        for level in self.down:
            h = level(h, past)
        h = self.mid(h, past)
        return self.conv_out(F.silu(self.norm_out(h)), past)


class Decoder(nn.Module):
    """`z_channels` features on the latent grid -> video, about [-1, 1] (facts: Cosmos tokenizer 2.3)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * multiple for multiple in config.channels_mult]
        self.conv_in = FactorizedConv(config.z_channels, widths[-1])
        self.mid = Middle(widths[-1], config.dropout)
        # Level 0 is the finest, as in the encoder; the coarsest runs first and keeps its width.
        befores = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList()
        for i, (before, after) in enumerate(zip(befores, widths, strict=True)):
            level = Level(
                [before] + [after] * (config.num_res_blocks + 1),
                attends=config.decoder_attends(i),
                dropout=config.dropout,
                upsample=None if i == 0 else Upsample(after, config.up_steps[config.num_levels - 1 - i]),
            )
            self.up.append(level)
        self.norm_out = FrameNorm(widths[0])
        self.conv_out = FactorizedConv(widths[0], config.out_channels * config.patch_size**3)

    def forward(self, z_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        h = self.mid(self.conv_in(z_BCTHW, past), past)
        for level in reversed(self.up):
            h = level(h, past)
        h = self.conv_out(F.silu(self.norm_out(h)), past)
        return unfold(h, self.config.patch_size, self.config.patch_method, past)


class Autoencoder(nn.Module):
    """The whole tokenizer network, without quantiser and without normalisation of the latent."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = CausalConv3d(config.z_channels, config.latent_channels)
        self.post_quant_conv = CausalConv3d(config.latent_channels, config.z_channels)

    def encode(self, video_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        """Video in [-1, 1], 1 + r k frames -> latent of 1 + k frames; a later window has r k frames and gives k."""
        return self.quant_conv(self.encoder(video_BCTHW, past))

    def decode(self, latent_BCTHW: Tensor, past: Past | None = None) -> Tensor:
        """Latent of 1 + k frames -> video of 1 + r k frames; a later window has k frames and gives r k."""
        return self.decoder(self.post_quant_conv(latent_BCTHW), past)

    def forward(self, video_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """(latent, reconstruction): what training a tokenizer needs."""
        latent_BCTHW = self.encode(video_BCTHW)
        return latent_BCTHW, self.decode(latent_BCTHW)
