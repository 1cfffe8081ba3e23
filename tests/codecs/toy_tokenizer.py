"""Tokenizers small enough for tests, with random weights."""

import torch
from torch import Tensor

from worldtune.networks.causal_video.autoencoder import Autoencoder
from worldtune.networks.causal_video.checkpoint import Checkpoint, Statistics
from worldtune.networks.causal_video.config import TokenizerConfig

TOY = TokenizerConfig(channels=4, channels_mult=(1, 2, 2), num_res_blocks=1, z_channels=5, latent_channels=5)


def random_checkpoint(config: TokenizerConfig = TOY, seed: int = 0, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Weights of unit scale, so that errors show, and statistics of three latent frames."""
    torch.manual_seed(seed)
    tensors = Autoencoder(config).state_dict()
    for name, tensor in tensors.items():
        noise = torch.randn_like(tensor)
        tensors[name] = (1 + 0.1 * noise if ".norm" in name and "weight" in name else tensor + 0.05 * noise).to(dtype)
    shape = (3, config.latent_channels)
    statistics = Statistics(mean_TC=torch.randn(shape), std_TC=torch.rand(shape) + 0.5)
    return Checkpoint(config=config, tensors=tensors, source="toy", statistics=statistics)


def random_video(*, clips: int = 1, views: int = 1, frames: int = 17, size: int = 16) -> Tensor:
    """uint8 [B,V,T,H,W,3]."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (clips, views, frames, size, size, 3), dtype=torch.uint8, generator=generator)


def same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Equal names, dtypes and bits."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )
