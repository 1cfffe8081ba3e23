"""The discrete video codec: pixels to token ids and back.

Shape legend: B batch, V views, T pixel frames, t latent frames, H W pixels, h w latent cells, C channels.
"""

from pathlib import Path

import torch
from torch import Tensor

from worldtune.contract.latents import latent_grid
from worldtune.contract.nouns import Grid
from worldtune.networks.causal_video import windows
from worldtune.networks.causal_video.autoencoder import Autoencoder
from worldtune.networks.causal_video.checkpoint import Checkpoint
from worldtune.networks.causal_video.files import read
from worldtune.networks.causal_video.windows import Passes
from worldtune.networks.quantizer import COSMOS_LEVELS, Quantizer


class DiscreteVideoCodec:
    """A `Codec` of the contract whose latents are token ids: int64 [B,V,t,h,w] without a channel axis."""

    def __init__(
        self, network: Autoencoder, quantizer: Quantizer, *, identity: str, source: str, passes: Passes | None = None
    ) -> None:
        """`network` brings its device and precision; `identity` is the hash of its weights, `source` where they lay."""
        self.network = network
        self.quantizer = quantizer
        self.identity = identity
        self.source = source
        self.latent_channels = network.config.latent_channels
        self.frames_per_latent = network.config.frames_per_latent
        self.pixels_per_latent = network.config.pixels_per_latent
        self._passes = passes or Passes()

    @property
    def num_codes(self) -> int:
        """Size of the vocabulary; ids are 0 .. num_codes - 1."""
        return self.quantizer.num_codes

    def grid(self, *, views: int, frames: int, height_px: int, width_px: int) -> Grid:
        """The token grid of a clip. ValueError unless frames = 1 + r k and the size divides."""
        return latent_grid(self, views=views, frames=frames, height_px=height_px, width_px=width_px)

    def encode(self, video_BVTHWC: Tensor) -> Tensor:
        """uint8 [B,V,T,H,W,3] -> token ids, int64 [B,V,t,h,w], each view on its own."""
        windows.require_video(self.network.config, video_BVTHWC)
        latent_NTHWC = windows.encode(self.network, video_BVTHWC.flatten(0, 1), self._passes)
        ids_NTHW = self.quantizer.indices(self.quantizer.codes(latent_NTHWC))
        return ids_NTHW.unflatten(0, video_BVTHWC.shape[:2])

    def decode(self, ids_BVTHW: Tensor) -> Tensor:
        """Token ids [B,V,t,h,w] -> uint8 [B,V,T,H,W,3]. ValueError for an id that is no code."""
        if ids_BVTHW.ndim != 5 or ids_BVTHW.is_floating_point():
            raise ValueError(f"expected integer token ids [B,V,t,h,w], got {ids_BVTHW.dtype} {list(ids_BVTHW.shape)}")
        codes_NTHWC = self.quantizer.codes_of(ids_BVTHW.flatten(0, 1))
        video_NTHWC = windows.decode(self.network, codes_NTHWC, self._passes)
        return video_NTHWC.unflatten(0, ids_BVTHW.shape[:2])

    def statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        """Always a ValueError: token ids are not normalised."""
        raise ValueError(f"{self.source}: token ids have no mean and deviation, asked for {frames} frames of them")


def load(
    path: Path, *, bf16: bool = False, device: torch.device | str = "cpu", passes: Passes | None = None
) -> DiscreteVideoCodec:
    """The codec in a file or folder: our own or NVIDIA's (see `networks.causal_video.files.read`).

    `bf16` computes in bfloat16 except for the quantiser. ValueError naming the file when it is unfit.
    """
    return from_checkpoint(read(Path(path)), bf16=bf16, device=device, passes=passes)


def from_checkpoint(
    checkpoint: Checkpoint, *, bf16: bool = False, device: torch.device | str = "cpu", passes: Passes | None = None
) -> DiscreteVideoCodec:
    """The codec of weights in memory."""
    checkpoint.config.require_mirror(checkpoint.source)
    return DiscreteVideoCodec(
        checkpoint.network(torch.bfloat16 if bf16 else torch.float32).to(device).requires_grad_(False),
        quantizer_of(checkpoint),
        identity=checkpoint.identity(),
        source=checkpoint.source,
        passes=passes,
    )


def quantizer_of(checkpoint: Checkpoint) -> Quantizer:
    """The quantiser that the file names; NVIDIA's `model.pt` names none, and means the published levels."""
    levels = checkpoint.levels or COSMOS_LEVELS
    if len(levels) != checkpoint.config.latent_channels:
        raise ValueError(
            f"{checkpoint.source}: {checkpoint.config.latent_channels} latent channels do not go with quantiser levels "
            f"{list(levels)}; is this a continuous tokenizer?"
        )
    return Quantizer(levels=levels)
