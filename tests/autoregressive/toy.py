"""A network small enough for a test of milliseconds, with every weight random so that nothing is zero by chance."""

from dataclasses import replace

import torch
from torch import Tensor

from worldtune.contract.condition import Widths
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.network import VideoTransformer

TOY = NetworkConfig(
    width=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=12, mlp_width=40, vocab_size=30, max_frames=4,
    max_height=3, max_width=4,
)  # fmt: skip
TOY_TEXT = replace(
    TOY, cross_attention_every=1, text_channels=20, begin_token=True, absolute_positions=True, yarn_scale=2.0,
    yarn_frames=2, yarn_side=3,
)  # fmt: skip
ALL = Widths(text=20, frame=5, dense=3)


def model(
    config: NetworkConfig, widths: Widths | None = None, seed: int = 0, *, inject: bool = True
) -> VideoTransformer:
    """A network with random weights; injections too, unless `inject` is False."""
    network = VideoTransformer(config, widths or Widths())
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.parameters():
            scale = 0.3 if tensor.ndim < 2 else tensor.shape[1] ** -0.5
            tensor.copy_(torch.randn(tensor.shape, generator=draw) * scale + (tensor.ndim < 2))
    return network.eval()


def tokens(views: int = 1, frames: int = 3, batch: int = 2, seed: int = 1) -> Tensor:
    """Random ids [B, V, T, 3, 4]."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(TOY.vocab_size, (batch, views, frames, 3, 4), generator=draw)


def carriers(widths: Widths, views: int = 1, frames: int = 3, batch: int = 2, seed: int = 2) -> dict[str, Tensor]:
    """Random arguments of `guide`."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    given = {}
    if widths.text:
        given["text_BVLC"] = normal(batch, views, 6, widths.text)
    if widths.frame:
        given["frame_BVTC"] = normal(batch, views, frames, widths.frame)
    if widths.dense:
        given["dense_BVTHWC"] = normal(batch, views, frames, 3, 4, widths.dense)
    return given
