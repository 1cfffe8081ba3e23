"""Folding frames and pixels into channels, and back: a 3-D Haar wavelet or a plain rearrangement.

The first frame is repeated to fill its own patch, so folding stays causal in time (facts: Cosmos tokenizer 2.2).
NVIDIA convolves with (1, 1)/sqrt 2 and (1, -1)/sqrt 2 on three axes and divides by 2 sqrt 2; that is the half sum and
the half difference of neighbours on each axis.

Shape legend: B batch, C channels, T frames, H W rows and columns.
"""

import torch
from torch import Tensor

from worldtune.networks.causal_video.past import Past, starts_clip

_AXES = (2, 3, 4)


def fold(x_BCTHW: Tensor, patch_size: int, method: str, past: Past | None = None) -> Tensor:
    """[B, C, 1 + p k, H, W] -> [B, C p^3, 1 + k, H/p, W/p]; a later window has p k frames and gives k."""
    if starts_clip(past):
        x_BCTHW = torch.cat([x_BCTHW[:, :, :1].expand(-1, -1, patch_size - 1, -1, -1), x_BCTHW], 2)
    if method == "rearrange":
        return _fold_plainly(x_BCTHW, patch_size)
    for _ in range(_num_octaves(patch_size)):
        x_BCTHW = _split_bands(x_BCTHW)
    return x_BCTHW


def unfold(x_BCTHW: Tensor, patch_size: int, method: str, past: Past | None = None) -> Tensor:
    """The inverse of `fold`."""
    if method == "rearrange":
        x_BCTHW = _unfold_plainly(x_BCTHW, patch_size)
    else:
        for _ in range(_num_octaves(patch_size)):
            x_BCTHW = _join_bands(x_BCTHW)
    return x_BCTHW[:, :, patch_size - 1 :] if starts_clip(past) else x_BCTHW


def _num_octaves(patch_size: int) -> int:
    return patch_size.bit_length() - 1


def _split_bands(x_BCTHW: Tensor) -> Tensor:
    # Bands lie in the order lll, llh, lhl, ... hhh: time, height, width.
    bands = [x_BCTHW]
    for axis in _AXES:
        bands = [half for band in bands for half in _halve(band, axis)]
    return torch.cat(bands, 1)


def _halve(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return (even + odd) / 2, (even - odd) / 2


def _join_bands(x_BCTHW: Tensor) -> Tensor:
    bands = list(x_BCTHW.chunk(8, 1))
    for axis in reversed(_AXES):
        bands = [_double(low, high, axis) for low, high in zip(bands[::2], bands[1::2], strict=True)]
    return bands[0]


def _double(low: Tensor, high: Tensor, axis: int) -> Tensor:
    return torch.stack([low + high, low - high], axis + 1).flatten(axis, axis + 1)


def _fold_plainly(x_BCTHW: Tensor, p: int) -> Tensor:
    x = x_BCTHW.unflatten(4, (-1, p)).unflatten(3, (-1, p)).unflatten(2, (-1, p))
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


def _unfold_plainly(x_BCTHW: Tensor, p: int) -> Tensor:
    x = x_BCTHW.unflatten(1, (-1, p, p, p)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)
