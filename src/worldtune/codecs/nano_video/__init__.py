"""The nano continuous codec: 4 frames x 8 x 8 pixels per latent cell of 16 channels.

Latent frames after the first are stored as differences from it.

Shape legend: B batch, V views, T frames, H W rows and columns, C channels.
"""

from pathlib import Path

from torch import Tensor

from worldtune.contract.latents import latent_grid
from worldtune.contract.nouns import Grid
from worldtune.networks.nano_video import files, grid
from worldtune.networks.nano_video.network import Autoencoder, absolute, relative_to_first


class NanoVideoCodec:
    """Implements `contract.protocols.Codec`."""

    num_codes = None

    def __init__(self, network: Autoencoder, identity: str) -> None:
        assert network.quantizer is None
        self.network = network.eval().requires_grad_(False)
        self.identity = identity
        self.latent_channels = network.config.latent_channels
        self.frames_per_latent = network.config.frames_per_latent
        self.pixels_per_latent = network.config.pixels_per_latent

    def grid(self, *, views: int, frames: int, height_px: int, width_px: int) -> Grid:
        """The latent grid of a clip. ValueError unless frames = 1 + 4 k and both sides divide by 8."""
        return latent_grid(self, views=views, frames=frames, height_px=height_px, width_px=width_px)

    def encode(self, video_BVTHWC: Tensor) -> Tensor:
        """uint8 [B,V,T,H,W,3] -> raw latents, float32 [B,V,t,h,w,C]."""
        z_BTHWC = grid.encode(self.network, video_BVTHWC.flatten(0, 1))
        return relative_to_first(z_BTHWC).unflatten(0, video_BVTHWC.shape[:2])

    def decode(self, latent_BVTHWC: Tensor) -> Tensor:
        """Raw latents -> uint8 [B,V,T,H,W,3]."""
        z_BTHWC = absolute(latent_BVTHWC.flatten(0, 1))
        return grid.decode(self.network, z_BTHWC).unflatten(0, latent_BVTHWC.shape[:2])

    def statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        """(mean_TC, std_TC) of raw latents: the first latent frame has its own row."""
        rows = [min(index, 1) for index in range(frames)]
        return self.network.latent_mean[rows].float(), self.network.latent_std[rows].float()


def load(path: Path) -> NanoVideoCodec:
    """Load `config.json` and `model.safetensors` from a folder. ValueError naming the file that does not fit."""
    network, identity = files.read(path)
    if network.quantizer is not None:
        raise ValueError(f"{path}: holds a discrete codec, wanted a continuous one")
    return NanoVideoCodec(network, identity)


def save(network: Autoencoder, path: Path) -> None:
    """Write a folder that `load` reads; weights in bfloat16."""
    files.write(network, path)
