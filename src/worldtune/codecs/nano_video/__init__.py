"""The nano continuous codec: 4 frames x 8 x 8 pixels per latent cell of 16 channels.

Latent frames after the first are stored as differences from it.

Shape legend: B batch, V views, T frames, H W rows and columns, C channels.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldtune.codecs.nano_video.network import (
    Autoencoder,
    NanoCodecConfig,
    absolute,
    from_groups,
    relative_to_first,
    to_groups,
)
from worldtune.contract.files import file_hash, read_json, write_json, write_whole
from worldtune.contract.nouns import Grid

MAX_CLIPS = 16
"""Clips of one view that go through the network together; bounds memory."""


class NanoVideoCodec:
    """Implements `contract.protocols.Codec`."""

    def __init__(self, network: Autoencoder, identity: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.identity = identity
        self.latent_channels = network.config.latent_channels
        self.frames_per_latent = network.config.frames_per_latent
        self.pixels_per_latent = network.config.pixels_per_latent

    def grid(self, *, views: int, frames: int, height_px: int, width_px: int) -> Grid:
        """The latent grid of a clip. ValueError unless frames = 1 + 4 k and both sides divide by 8."""
        r, p = self.frames_per_latent, self.pixels_per_latent
        if frames < 1 or (frames - 1) % r:
            legal = 1 + r * max(0, (frames - 1) // r)
            raise ValueError(f"num_frames must be 1 + {r} k for this codec, got {frames}; use {legal} or {legal + r}")
        if height_px % p or width_px % p:
            raise ValueError(f"height and width must be multiples of {p} px for this codec, got {height_px}x{width_px}")
        return Grid(
            views=views,
            frames=1 + (frames - 1) // r,
            height=height_px // p,
            width=width_px // p,
            frames_per_latent=r,
            pixels_per_latent=p,
        )

    @torch.inference_mode()
    def encode(self, video_BVTHWC: Tensor) -> Tensor:
        """uint8 [B,V,T,H,W,3] -> raw latents, float32 [B,V,t,h,w,C]."""
        batch, views, frames, height, width, _ = video_BVTHWC.shape
        grid = self.grid(views=views, frames=frames, height_px=height, width_px=width)
        parts = []
        for video in video_BVTHWC.flatten(0, 1).split(MAX_CLIPS):
            x_NCHW = to_groups(video.float() / 127.5 - 1, self.frames_per_latent)
            z_NCHW = self.network.encoder(x_NCHW, grid.frames)
            parts.append(relative_to_first(z_NCHW.unflatten(0, (-1, grid.frames)).permute(0, 1, 3, 4, 2)))
        return torch.cat(parts).unflatten(0, (batch, views)).contiguous()

    @torch.inference_mode()
    def decode(self, latent_BVTHWC: Tensor) -> Tensor:
        """Raw latents -> uint8 [B,V,T,H,W,3]."""
        batch, views, frames = latent_BVTHWC.shape[:3]
        parts = []
        for z in latent_BVTHWC.float().flatten(0, 1).split(MAX_CLIPS):
            z_NCHW = absolute(z).permute(0, 1, 4, 2, 3).flatten(0, 1).contiguous()
            x_NCHW = self.network.decoder(z_NCHW, frames)
            video = from_groups(x_NCHW, frames, self.frames_per_latent)
            parts.append(((video + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
        return torch.cat(parts).unflatten(0, (batch, views))

    def statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        """(mean_TC, std_TC) of raw latents: the first latent frame has its own row."""
        rows = [min(index, 1) for index in range(frames)]
        return self.network.latent_mean[rows].float(), self.network.latent_std[rows].float()


def load(path: Path) -> NanoVideoCodec:
    """Load `config.json` and `model.safetensors` from a folder. ValueError naming the file that does not fit."""
    config = NanoCodecConfig(**read_json(path / "config.json"))
    weights = path / "model.safetensors"
    network = Autoencoder(config)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()}, strict=True)
    except (SafetensorError, FileNotFoundError, RuntimeError) as error:
        raise ValueError(f"{weights}: not the weights of this codec ({str(error).splitlines()[0]})") from None
    return NanoVideoCodec(network, file_hash(weights))


def save(network: Autoencoder, path: Path) -> None:
    """Write a folder that `load` reads; weights in bfloat16."""
    write_json(path / "config.json", vars(network.config))
    with write_whole(path / "model.safetensors") as temporary:
        tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, temporary, {"config": json.dumps(vars(network.config))})
