"""A light causal video autoencoder that starts as a linear (PCA) codec and learns what the linear one misses.

Groups of r frames are coded together, each group seeing itself and, through `PreviousFrame`, the groups before it.
The first frame is a group of its own, repeated r times, so 1 + r k frames become 1 + k latent frames.

Why not a small Cosmos tokenizer: trained from plain initialisation it sits on a grey plateau for hundreds of CPU
steps; a linear path with zero-initialised residual networks starts at the PCA codec's quality at step 0.

Shape legend: B batch, T groups (latent frames), N = B T, C channels, H W rows and columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldtune.networks.quantizer import Quantizer

FINE = 4
"""Pixels per cell of the fine grid, on which half of the residual blocks work."""


@dataclass(frozen=True, kw_only=True)
class NanoCodecConfig:
    """Sizes of the nano codec."""

    frames_per_latent: int = 4
    """Pixel frames per latent frame."""
    pixels_per_latent: int = 8
    """Pixels per latent cell, a multiple of 4."""
    latent_channels: int = 16
    fine_channels: int = 96
    """Channels on the grid of 4x4 pixels."""
    coarse_channels: int = 128
    """Channels on the latent grid."""
    encoder_blocks: int = 1
    """Residual blocks on each of the encoder's two grids."""
    decoder_blocks: int = 3
    """Residual blocks on each of the decoder's two grids."""
    levels: tuple[int, ...] = ()
    """Steps of every latent channel when latents are quantised (FSQ); empty for a continuous codec."""

    def __post_init__(self) -> None:
        if self.pixels_per_latent % FINE:
            raise ValueError(f"pixels_per_latent must be a multiple of {FINE}, got {self.pixels_per_latent}")
        if self.levels and len(self.levels) != self.latent_channels:
            raise ValueError(f"levels {list(self.levels)} do not go with latent_channels {self.latent_channels}")

    @property
    def group_channels(self) -> int:
        """Colour channels of one group of frames."""
        return 3 * self.frames_per_latent


class Block(nn.Module):
    """Pre-norm residual block of two 3x3 convolutions; the second starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x_NCHW)))
        return x_NCHW + self.conv2(F.silu(self.norm2(hidden)))


class PreviousFrame(nn.Module):
    """Adds what the previous latent frame's features tell; starts at zero. The first frame sees zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = zeroed(nn.Conv2d(2 * channels, channels, 1))

    def forward(self, x_NCHW: Tensor, frames: int) -> Tensor:
        x_BTCHW = x_NCHW.unflatten(0, (-1, frames))
        previous = torch.cat([torch.zeros_like(x_BTCHW[:, :1]), x_BTCHW[:, :-1]], 1).flatten(0, 1)
        return x_NCHW + self.mix(F.silu(torch.cat([x_NCHW, previous], 1)))


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The same layer with weights and bias zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Encoder(nn.Module):
    """Pixels to latents: a linear patch projection plus a residual network."""

    def __init__(self, config: NanoCodecConfig) -> None:
        super().__init__()
        c, ratio = config, config.pixels_per_latent // FINE
        self.linear = nn.Conv2d(c.group_channels, c.latent_channels, c.pixels_per_latent, c.pixels_per_latent)
        self.stem = nn.Conv2d(c.group_channels * FINE**2, c.fine_channels, 3, padding=1)
        self.fine = nn.Sequential(*[Block(c.fine_channels) for _ in range(c.encoder_blocks)])
        self.down = nn.Conv2d(c.fine_channels, c.coarse_channels, ratio, ratio)
        self.previous = PreviousFrame(c.coarse_channels)
        self.coarse = nn.Sequential(*[Block(c.coarse_channels) for _ in range(c.encoder_blocks)])
        self.out = zeroed(nn.Conv2d(c.coarse_channels, c.latent_channels, 1))

    def forward(self, x_NCHW: Tensor, frames: int) -> Tensor:
        """[B*T, 3r, H, W] in -1..1 -> [B*T, C, h, w]."""
        hidden = self.fine(self.stem(F.pixel_unshuffle(x_NCHW, FINE)))
        hidden = self.coarse(self.previous(self.down(hidden), frames))
        return self.linear(x_NCHW) + self.out(F.silu(hidden))


class Decoder(nn.Module):
    """Latents to pixels: the linear path's transpose plus a residual network."""

    def __init__(self, config: NanoCodecConfig) -> None:
        super().__init__()
        c, ratio = config, config.pixels_per_latent // FINE
        self.linear = nn.ConvTranspose2d(c.latent_channels, c.group_channels, c.pixels_per_latent, c.pixels_per_latent)
        self.stem = nn.Conv2d(c.latent_channels, c.coarse_channels, 3, padding=1)
        self.previous = PreviousFrame(c.coarse_channels)
        self.coarse = nn.Sequential(*[Block(c.coarse_channels) for _ in range(c.decoder_blocks)])
        self.up = nn.Conv2d(c.coarse_channels, c.fine_channels * ratio**2, 1)
        self.shuffle = nn.PixelShuffle(ratio)
        self.fine = nn.Sequential(*[Block(c.fine_channels) for _ in range(c.decoder_blocks)])
        self.out = zeroed(nn.Conv2d(c.fine_channels, c.group_channels * FINE**2, 3, padding=1))

    def forward(self, z_NCHW: Tensor, frames: int) -> Tensor:
        """[B*T, C, h, w] -> [B*T, 3r, H, W], about -1..1."""
        hidden = self.coarse(self.previous(self.stem(z_NCHW), frames))
        hidden = self.fine(self.shuffle(self.up(hidden)))
        return self.linear(z_NCHW) + F.pixel_shuffle(self.out(F.silu(hidden)), FINE)


class Autoencoder(nn.Module):
    """Encoder and decoder, with the statistics of the latents."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: NanoCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantizer = Quantizer(levels=config.levels) if config.levels else None
        # Row 0: the first latent frame (one repeated pixel frame); row 1: every later one.
        self.register_buffer("latent_mean", torch.zeros(2, config.latent_channels))
        self.register_buffer("latent_std", torch.ones(2, config.latent_channels))

    def codes(self, z_NCHW: Tensor) -> Tensor:
        """What the decoder reads: the latents themselves, or their nearest codes in -1..1."""
        if self.quantizer is None:
            return z_NCHW
        return self.quantizer.codes(z_NCHW.movedim(1, -1)).movedim(-1, 1)

    def forward(self, x_NCHW: Tensor, frames: int) -> Tensor:
        """There and back again, [B*T, 3r, H, W]."""
        return self.decoder(self.codes(self.encoder(x_NCHW, frames)), frames)

    def start_linear(self, mean_K: Tensor, basis_CK: Tensor, spread_C: Tensor | None = None) -> None:
        """Make this the PCA codec: `basis_CK` holds orthonormal rows over K = 3 r p p patch values in -1..1.

        spread_C: divides each channel, which the quantiser of a discrete codec wants near unit deviation. Then the
        result is the PCA codec up to rounding and the quantiser's tanh.
        """
        channels, patch = self.config.group_channels, self.config.pixels_per_latent
        spread_C = torch.ones(len(basis_CK)) if spread_C is None else spread_C
        encoder, decoder = self.encoder.linear, self.decoder.linear
        assert encoder.bias is not None
        assert decoder.bias is not None
        # A transposed convolution has one bias per channel, the PCA mean one per pixel: fold the rest in.
        per_channel_K = mean_K.reshape(channels, -1).mean(1).repeat_interleave(patch * patch)
        with torch.no_grad():
            encoder.weight.copy_((basis_CK / spread_C[:, None]).reshape(-1, channels, patch, patch))
            encoder.bias.copy_(-(basis_CK @ per_channel_K) / spread_C)
            decoder.weight.copy_((basis_CK * spread_C[:, None]).reshape(-1, channels, patch, patch))
            decoder.bias.copy_(mean_K.reshape(channels, -1).mean(1))


def relative_to_first(z_BTHWC: Tensor) -> Tensor:
    """Later latent frames as differences from the first: what stands still is zero, and a model need not copy it."""
    return torch.cat([z_BTHWC[:, :1], z_BTHWC[:, 1:] - z_BTHWC[:, :1]], 1)


def absolute(z_BTHWC: Tensor) -> Tensor:
    """The inverse of `relative_to_first`."""
    return torch.cat([z_BTHWC[:, :1], z_BTHWC[:, 1:] + z_BTHWC[:, :1]], 1)


def to_groups(video_BTHWC: Tensor, frames_per_latent: int) -> Tensor:
    """[B, 1 + r k, H, W, 3] -> [B (1 + k), 3 r, H, W]: the first frame repeated, then r frames per group."""
    first = video_BTHWC[:, :1].expand(-1, frames_per_latent, -1, -1, -1)
    x = torch.cat([first, video_BTHWC[:, 1:]], 1).unflatten(1, (-1, frames_per_latent))
    return x.permute(0, 1, 2, 5, 3, 4).flatten(2, 3).flatten(0, 1)


def from_groups(x_NCHW: Tensor, frames: int, frames_per_latent: int) -> Tensor:
    """The inverse of `to_groups`; the repeated first frame is the mean of its copies."""
    x = x_NCHW.unflatten(1, (frames_per_latent, 3)).unflatten(0, (-1, frames)).permute(0, 1, 2, 4, 5, 3)
    return torch.cat([x[:, 0].mean(1, keepdim=True), x[:, 1:].flatten(1, 2)], 1)
