"""A base with a toy codec and a toy text encoder: real classes, random weights."""

from pathlib import Path

import torch

from worldtune.codecs import nano_video
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig
from worldtune.stages.base import Base
from worldtune.text import nano

CODEC = NanoCodecConfig(fine_channels=8, coarse_channels=8, encoder_blocks=1, decoder_blocks=1, latent_channels=4)
TEXT = nano.NanoTextConfig(width=8, hidden=8, layers=1, heads=2, buckets=32, max_length=6)


def toy_base(folder: Path, *, codec_seed: int = 0, text_seed: int = 0) -> Base:
    """A base for clips of 5 frames of 16x16 px at 10 Hz."""
    torch.manual_seed(codec_seed)
    network = Autoencoder(CODEC)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    codec_path, text_path = folder / f"codec{codec_seed}", folder / f"text{text_seed}"
    nano_video.save(network, codec_path)
    torch.manual_seed(text_seed)
    nano.save(nano.TextNetwork(TEXT), text_path)
    return Base(
        name="toy",
        family="diffusion",
        network=folder / "none",
        codec_room="nano_video",
        codec_path=codec_path,
        text_path=text_path,
        window={"num_frames": 5, "height_px": 16, "width_px": 16, "fps_hz": 10.0},
    )
