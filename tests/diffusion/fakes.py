"""A model whose network output is a known function, for tests of the objective and the samplers.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels.
"""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from worldtune.contract.nouns import Batch

SD = 0.5


class KnownNetwork(nn.Module):
    """Calls `function(x, sigma_B)` and remembers what it was given."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], condition_mask: bool) -> None:
        super().__init__()
        self.function = function
        self.config = SimpleNamespace(condition_mask=condition_mask, frame_repeat=False, trajectory_numbers=0)
        self.patch_embed = nn.Linear(1, 1, bias=False)
        self.calls: list[dict] = []

    def forward(self, x_BVTHWC, c_noise_B, **given):
        self.calls.append({"x": x_BVTHWC, "c_noise": c_noise_B, **given})
        return self.function(x_BVTHWC, torch.exp(4 * c_noise_B)[:, None, None, None, None, None])


class KnownModel(nn.Module):
    """A DiffusionModel with a known network and a log-variance that is `slope` times c_noise."""

    def __init__(self, function, condition_mask=False, slope=0.0) -> None:
        super().__init__()
        self.net = KnownNetwork(function, condition_mask)
        self.slope = nn.Parameter(torch.tensor(slope))

    def logvar(self, c_noise_B):
        return self.slope * c_noise_B


def perfect_for_gaussian(std: float) -> Callable[[Tensor, Tensor], Tensor]:
    """F of the best possible denoiser when the latents are N(0, std^2): x0 = x std^2 / (std^2 + sigma^2)."""

    def function(seen: Tensor, sigma: Tensor) -> Tensor:
        total = sigma**2 + SD**2
        x = seen * total.sqrt()
        return (x * std**2 / (std**2 + sigma**2) - SD**2 / total * x) / (sigma * SD / total.sqrt())

    return function


def batch_of(size: int = 2, views: int = 1, frames: int = 4, num_observed: list[int] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(5)
    return Batch(
        target=torch.randn(size, views, frames, 4, 4, 3, generator=generator),
        controls={},
        fps_hz_B=torch.full((size,), 8.0),
        clip_ids=tuple(f"clip{i}" for i in range(size)),
        num_observed_B=None if num_observed is None else torch.tensor(num_observed),
    )
