"""The continuous video codec: pixels to raw latents and back.

Shape legend: B batch, V views, T pixel frames, t latent frames, H W pixels, h w latent cells, C channels.
"""

from pathlib import Path

import torch
from torch import Tensor

from worldtune.contract.latents import latent_grid
from worldtune.contract.nouns import Grid
from worldtune.networks.causal_video import windows
from worldtune.networks.causal_video.autoencoder import Autoencoder
from worldtune.networks.causal_video.checkpoint import Checkpoint, Statistics
from worldtune.networks.causal_video.files import read
from worldtune.networks.causal_video.windows import Passes


class ContinuousVideoCodec:
    """A `Codec` of the contract around NVIDIA's tokenizer network."""

    num_codes = None

    def __init__(
        self,
        network: Autoencoder,
        *,
        identity: str,
        source: str,
        statistics: Statistics | None = None,
        passes: Passes | None = None,
    ) -> None:
        """`network` brings its device and precision; `identity` is the hash of its weights, `source` where they lay.

        Without `statistics` encoding works, and asking for them is an error.
        """
        self.network = network
        self.identity = identity
        self.source = source
        self.latent_channels = network.config.latent_channels
        self.frames_per_latent = network.config.frames_per_latent
        self.pixels_per_latent = network.config.pixels_per_latent
        self._statistics = statistics
        self._passes = passes or Passes()

    def grid(self, *, views: int, frames: int, height_px: int, width_px: int) -> Grid:
        """The latent grid of a clip. ValueError unless frames = 1 + r k and the size divides."""
        return latent_grid(self, views=views, frames=frames, height_px=height_px, width_px=width_px)

    def encode(self, video_BVTHWC: Tensor) -> Tensor:
        """uint8 [B,V,T,H,W,3] -> raw latents, float32 [B,V,t,h,w,C], each view on its own.

        ValueError unless the video is uint8 and fits a grid.
        """
        windows.require_video(self.network.config, video_BVTHWC)
        latent_NTHWC = windows.encode(self.network, video_BVTHWC.flatten(0, 1), self._passes)
        return latent_NTHWC.unflatten(0, video_BVTHWC.shape[:2])

    def decode(self, latent_BVTHWC: Tensor) -> Tensor:
        """Raw latents [B,V,t,h,w,C] -> uint8 [B,V,T,H,W,3], each view on its own."""
        if latent_BVTHWC.ndim != 6 or latent_BVTHWC.shape[-1] != self.latent_channels:
            raise ValueError(
                f"expected latents [B,V,t,h,w,{self.latent_channels}], got shape {list(latent_BVTHWC.shape)}"
            )
        video_NTHWC = windows.decode(self.network, latent_BVTHWC.flatten(0, 1), self._passes)
        return video_NTHWC.unflatten(0, latent_BVTHWC.shape[:2])

    def statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        """(mean_TC, std_TC) of raw latents, float32, for the first `frames` latent frames of a clip.

        Published statistics end at 16 latent frames; their last row serves all later frames.
        """
        if self._statistics is None:
            raise ValueError(
                f"{self.source}: no latent statistics; put NVIDIA's mean_std.pt beside the weights "
                "(ours and diffusers' folders carry them in config.json)"
            )
        return self._statistics.of_clip(frames)


def load(
    path: Path, *, bf16: bool = False, device: torch.device | str = "cpu", passes: Passes | None = None
) -> ContinuousVideoCodec:
    """The codec in a file or folder: our own, NVIDIA's or diffusers' (see `networks.causal_video.files.read`).

    `bf16` computes in bfloat16, as NVIDIA does; otherwise in float32. ValueError naming the file when it is unfit.
    """
    return from_checkpoint(read(Path(path)), bf16=bf16, device=device, passes=passes)


def from_checkpoint(
    checkpoint: Checkpoint, *, bf16: bool = False, device: torch.device | str = "cpu", passes: Passes | None = None
) -> ContinuousVideoCodec:
    """The codec of weights in memory."""
    if checkpoint.levels:
        raise ValueError(f"{checkpoint.source}: this is a discrete tokenizer; load it with codecs.discrete_video")
    checkpoint.config.require_mirror(checkpoint.source)
    network = checkpoint.network(torch.bfloat16 if bf16 else torch.float32).to(device).requires_grad_(False)
    return ContinuousVideoCodec(
        network,
        identity=checkpoint.identity(),
        source=checkpoint.source,
        statistics=checkpoint.statistics,
        passes=passes,
    )
