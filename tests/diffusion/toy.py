"""A network small enough for a test of milliseconds, with every weight random so that nothing is zero by chance."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from worldtune.contract.condition import Widths
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.network import GeneralDIT

TOY = NetworkConfig(
    width=48, num_blocks=2, num_heads=2, latent_channels=4, text_channels=20, adaln_rank=8, max_height=16, max_width=20,
    max_frames=6, rope_ratio_t=2.0,
)  # fmt: skip
TOY_VIDEO = replace(TOY, condition_mask=True)
TOY_MULTIVIEW = replace(
    TOY_VIDEO, positions="sincos", num_views=3, view_channels=5, frame_repeat=True, trajectory_numbers=9,
    trajectory_channels=2,
)  # fmt: skip


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter and buffer values of the size that trained ones have."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            scale = 0.3 if tensor.ndim < 2 else tensor.shape[1] ** -0.5
            tensor.copy_(torch.randn(tensor.shape, generator=draw) * scale + (tensor.ndim < 2))


def network(config: NetworkConfig, widths: Widths | None = None, seed: int = 0) -> GeneralDIT:
    """A network with random weights; injections stay at their zero start."""
    torch.manual_seed(seed)
    net = GeneralDIT(config, widths or Widths())
    injections = [module for module in (net.frame_injection, net.dense_injection) if module is not None]
    randomise(net, seed)
    for injection in injections:
        injection.reset_parameters()
    return net


def model(config: NetworkConfig, widths: Widths | None = None, seed: int = 0) -> DiffusionModel:
    """Network and log-variance head with random weights, injections too."""
    built = DiffusionModel(config, widths or Widths())
    randomise(built, seed)
    return built


def inputs(config: NetworkConfig, widths: Widths | None = None, seed: int = 1, views: int = 1) -> dict[str, Tensor]:
    """Random arguments of `GeneralDIT.forward`, everything that the configuration can take."""
    draw = torch.Generator().manual_seed(seed)
    widths, batch, frames, height, width = widths or Widths(), 2, 3, 8, 12
    grid = (batch, views, frames, height, width)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    given = {
        "x_BVTHWC": normal(*grid, config.latent_channels),
        "c_noise_BT": normal(batch) / 2,
        "text_BVLD": normal(batch, views, 7, config.text_channels),
        "fps_hz_B": torch.tensor([24.0, 24.0]),
        "padding_mask_BHW": (normal(batch, 64, 96) > 1).float(),
    }
    if config.condition_mask:
        given["condition_mask_BVTHW"] = (normal(*grid[:3], 1, 1) > 0).float().expand(grid)
    if config.frame_repeat:
        given["frame_repeat_BV"] = normal(batch, views).abs()
    if config.trajectory_numbers:
        given["trajectory_BK"] = normal(batch, config.trajectory_numbers)
    if widths.frame:
        given["frame_BVTD"] = normal(batch, views, frames, widths.frame)
    if widths.dense:
        given["dense_BVTHWC"] = normal(*grid, widths.dense)
    return given
