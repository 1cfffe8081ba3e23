"""The nano discrete codec: 4 frames x 8 x 8 pixels per token.

Shape legend: B batch, V views, T frames, H W rows and columns, C channels.
"""

from pathlib import Path

from torch import Tensor

from worldtune.contract.latents import latent_grid
from worldtune.contract.nouns import Grid
from worldtune.networks.nano_video import files, grid
from worldtune.networks.nano_video.network import Autoencoder


class NanoTokensCodec:
    """Implements `contract.protocols.Codec`; latents are token ids, int64 [B,V,t,h,w] without a channel axis."""

    def __init__(self, network: Autoencoder, identity: str) -> None:
        assert network.quantizer is not None
        self.network = network.eval().requires_grad_(False)
        self.quantizer = network.quantizer
        self.identity = identity
        self.latent_channels = network.config.latent_channels
        self.frames_per_latent = network.config.frames_per_latent
        self.pixels_per_latent = network.config.pixels_per_latent

    @property
    def num_codes(self) -> int:
        """Size of the vocabulary; ids are 0 .. num_codes - 1."""
        return self.quantizer.num_codes

    def grid(self, *, views: int, frames: int, height_px: int, width_px: int) -> Grid:
        """The token grid of a clip. ValueError unless frames = 1 + 4 k and both sides divide by 8."""
        return latent_grid(self, views=views, frames=frames, height_px=height_px, width_px=width_px)

    def encode(self, video_BVTHWC: Tensor) -> Tensor:
        """uint8 [B,V,T,H,W,3] -> token ids, int64 [B,V,t,h,w], each view on its own."""
        z_BTHWC = grid.encode(self.network, video_BVTHWC.flatten(0, 1))
        ids_BTHW = self.quantizer.indices(self.quantizer.codes(z_BTHWC))
        return ids_BTHW.unflatten(0, video_BVTHWC.shape[:2])

    def decode(self, ids_BVTHW: Tensor) -> Tensor:
        """Token ids [B,V,t,h,w] -> uint8 [B,V,T,H,W,3]. ValueError for an id that is no code."""
        if ids_BVTHW.ndim != 5 or ids_BVTHW.is_floating_point():
            raise ValueError(f"expected integer token ids [B,V,t,h,w], got {ids_BVTHW.dtype} {list(ids_BVTHW.shape)}")
        codes_BTHWC = self.quantizer.codes_of(ids_BVTHW.flatten(0, 1))
        return grid.decode(self.network, codes_BTHWC).unflatten(0, ids_BVTHW.shape[:2])

    def statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        """Always a ValueError: token ids are not normalised."""
        raise ValueError(f"token ids have no mean and deviation, asked for {frames} frames of them")


def load(path: Path) -> NanoTokensCodec:
    """Load `config.json` and `model.safetensors` from a folder. ValueError naming the file that does not fit."""
    network, identity = files.read(path)
    if network.quantizer is None:
        raise ValueError(f"{path}: holds a continuous codec, wanted a discrete one")
    return NanoTokensCodec(network, identity)


def save(network: Autoencoder, path: Path) -> None:
    """Write a folder that `load` reads; weights in bfloat16."""
    files.write(network, path)
