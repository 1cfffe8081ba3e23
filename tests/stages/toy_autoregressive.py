"""A toy base of the autoregressive family: a discrete codec of 20 ids, a text encoder and a network, random weights."""

from pathlib import Path

import torch

from worldtune.codecs import nano_tokens
from worldtune.contract.condition import Widths
from worldtune.contract.files import write_json
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.weights import save
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig
from worldtune.text import nano as nano_text

LEVELS = (5, 4)
NUM_CODES = 20
NETWORK = NetworkConfig(
    width=32,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    head_dim=12,
    mlp_width=40,
    vocab_size=NUM_CODES,
    max_frames=3,
    max_height=2,
    max_width=2,
    begin_token=True,
    cross_attention_every=1,
    text_channels=8,
)


def make_base(folder: Path, seed: int = 0, *, family: str = "autoregressive") -> Path:
    """A base with random weights; `family` is what its base.json claims."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        codec = NanoCodecConfig(latent_channels=2, fine_channels=8, coarse_channels=8, decoder_blocks=1, levels=LEVELS)
        nano_tokens.save(Autoencoder(codec), folder / "codec")
        text = nano_text.NanoTextConfig(width=8, hidden=8, layers=1, heads=2, buckets=16, max_length=4)
        nano_text.save(nano_text.TextNetwork(text), folder / "text")
        network = VideoTransformer(NETWORK, Widths(text=8))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        save(network, folder / "network")
    write_json(
        folder / "base.json",
        {
            "family": family,
            "network": "network",
            "codec": {"room": "nano_tokens", "path": "codec"},
            "text": "text",
            "window": {"num_frames": 9, "fps_hz": 10.0, "height_px": 16, "width_px": 16},
            "settings": ["sampler.top_p=1.0"],
        },
    )
    return folder
