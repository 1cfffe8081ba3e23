"""A tokenizer's weights apart from any file format: network tensors under NVIDIA's names, and what goes with them.

Shape legend: T latent frames, C latent channels.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from worldtune.contract.nouns import Coverage
from worldtune.networks.causal_video.autoencoder import Autoencoder
from worldtune.networks.causal_video.config import TokenizerConfig


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean and standard deviation of raw latents, per latent frame and channel."""

    mean_TC: Tensor
    """Row k belongs to latent frame k of a clip."""
    std_TC: Tensor
    """All positive."""

    def __post_init__(self) -> None:
        if self.mean_TC.ndim != 2 or self.mean_TC.shape != self.std_TC.shape or not self.mean_TC.numel():
            raise ValueError(
                "latent statistics must be two arrays [frames, channels], "
                f"got {tuple(self.mean_TC.shape)} and {tuple(self.std_TC.shape)}"
            )
        if not (self.mean_TC.isfinite().all() and self.std_TC.isfinite().all() and (self.std_TC > 0).all()):
            raise ValueError("latent statistics must be finite, with positive standard deviations")

    def of_clip(self, num_frames: int) -> tuple[Tensor, Tensor]:
        """float32 (mean_TC, std_TC) of the first `num_frames` latent frames; the last row also serves all later ones.

        The published statistics end at 16 latent frames, after a few frames they hardly change.
        """
        rows = torch.arange(num_frames).clamp(max=self.mean_TC.shape[0] - 1)
        return self.mean_TC[rows].float(), self.std_TC[rows].float()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What every file format of a tokenizer holds."""

    config: TokenizerConfig
    """Shape of the network."""
    tensors: dict[str, Tensor]
    """Network parameters under NVIDIA's names, in the precision of the file they came from."""
    source: str
    """File or folder, for error messages."""
    statistics: Statistics | None = None
    """None when no file had any."""
    levels: tuple[int, ...] = ()
    """Steps of each quantised channel; empty when the file says nothing, as for every continuous tokenizer."""

    def network(self, dtype: torch.dtype = torch.float32) -> Autoencoder:
        """The network with these weights, in evaluation mode. ValueError unless every tensor fits."""
        with torch.device("meta"):
            network = Autoencoder(self.config)
        wanted = network.state_dict()
        Coverage.of(wanted, self.tensors).require_complete(self.source)
        for name, tensor in self.tensors.items():
            if tensor.shape != wanted[name].shape:
                raise ValueError(
                    f"{self.source}: tensor {name} has shape {list(tensor.shape)}, "
                    f"the configuration wants {list(wanted[name].shape)}"
                )
        network.load_state_dict({name: tensor.to(dtype) for name, tensor in self.tensors.items()}, assign=True)
        return network.eval()

    def identity(self) -> str:
        """SHA-256 of weights and structure: the same for one tokenizer in any file format.

        Statistics do not count: raw latents do not depend on them.
        """
        config = self.config
        structure = (config.patch_size, config.patch_method, config.down_steps, config.up_steps, self.levels)
        digest = hashlib.sha256(repr(structure).encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()
