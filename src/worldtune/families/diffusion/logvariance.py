"""The learned log-variance of the loss, and the model that carries it beside the network.

Shape legend: B batch, V views, T latent frames.
"""

import math

import torch
from torch import Tensor, nn

from worldtune.contract.condition import Widths
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.network import GeneralDIT

NUM_FREQUENCIES = 128


class LogVariance(nn.Module):
    """u(c_noise): how hard a noise level is. Random Fourier features and one linear row (facts: loss-weight head)."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, num_frequencies: int = NUM_FREQUENCIES) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(num_frequencies))
        self.register_buffer("phases", torch.empty(num_frequencies))
        self.proj = nn.Linear(num_frequencies, 1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random frequencies and phases, zero output: u = 0 weighs every noise level alike."""
        nn.init.normal_(self.freqs, std=2 * math.pi)
        nn.init.uniform_(self.phases, 0, 2 * math.pi)
        nn.init.zeros_(self.proj.weight)

    def forward(self, c_noise: Tensor) -> Tensor:
        """Float32, the shape of c_noise."""
        with torch.autocast(c_noise.device.type, enabled=False):
            angles = c_noise.float()[..., None] * self.freqs.float() + self.phases.float()
            features = math.sqrt(2.0) * angles.cos()
            return (features * self.proj.weight[0].float()).sum(-1)


class DiffusionModel(nn.Module):
    """What is trained, saved and exported: the network and the loss's log-variance."""

    def __init__(self, config: NetworkConfig, widths: Widths) -> None:
        super().__init__()
        self.net = GeneralDIT(config, widths)
        self.logvar = LogVariance()
