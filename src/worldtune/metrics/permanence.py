"""Object permanence: does what was there stay there? No learned weights.

A thing is a compact patch of the last given frame in a colour that is rare there. It may move; what counts is that a
later frame still shows about as much of its colour, wherever the true clip does so too. Things that leave the true
clip, or go behind others, are not asked for there.

Shape legend: T frames, H W rows and columns, C = 3 colours, K things, P pixels, S those inside of a patch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from worldtune.metrics.pixels import Video, images, shrunk, unobserved

SAME_LEVELS = 36.0
"""Colours closer than this, as a distance in RGB of 255 levels, count as one."""
SMALLEST, LARGEST = 0.003, 0.06
"""Share of the picture that a thing takes: less is noise, more is background."""
COMPACT = 0.12
"""Largest standard deviation of a thing's places, as a share of the picture's shorter side."""
STILL_THERE = 0.5
"""Share of its first area that must be seen."""
MOST_THINGS = 8
"""Per view, the largest first."""


def object_permanence(made_VTHWC: Video, real_VTHWC: Video, num_observed: int) -> float | None:
    """Share 0..1 of things that are still seen in the made frames, of those that the true clip still shows there.

    Averaged over things, frames and views alike. None when no frame is given, no thing is found in it, or the true clip
    keeps none.
    """
    unobserved(made_VTHWC, real_VTHWC, num_observed)
    if not num_observed:
        return None
    kept = asked = 0
    for made_THWC, real_THWC in zip(made_VTHWC, real_VTHWC, strict=True):
        real_TCHW = _looked_at(real_THWC)
        given_CHW = real_TCHW[num_observed - 1]
        colours_KC = things(given_CHW)
        if not len(colours_KC):
            continue
        area_K = areas(given_CHW[None], colours_KC)[0]
        is_there_TK = areas(real_TCHW[num_observed:], colours_KC) >= STILL_THERE * area_K
        is_made_TK = areas(_looked_at(made_THWC)[num_observed:], colours_KC) >= STILL_THERE * area_K
        asked += int(is_there_TK.sum())
        kept += int((is_made_TK & is_there_TK).sum())
    return kept / asked if asked else None


def _looked_at(video_THWC: Video) -> torch.Tensor:
    """Frames, made small: [T,C,H,W], 0..255."""
    return shrunk(images(video_THWC[None]))


def things(picture_CHW: torch.Tensor) -> torch.Tensor:
    """Colours [K,C] of the compact patches of rare colour, the largest first.

    Colours are taken from the inside of a patch, where the pixels around are alike: rims are blends of two things.
    """
    height, width = picture_CHW.shape[1:]
    around_CHW = F.avg_pool2d(picture_CHW, 3, 1, 1, count_include_pad=False)
    squares_CHW = F.avg_pool2d(picture_CHW.square(), 3, 1, 1, count_include_pad=False)
    unrest_HW = (squares_CHW - around_CHW.square()).clamp(min=0).sum(0).sqrt()
    is_inside_HW = unrest_HW < SAME_LEVELS
    is_inside_HW[:, 1::2] = False  # half of them will do, in half the time
    inside_SC = around_CHW.permute(1, 2, 0)[is_inside_HW]
    is_same_SP = torch.cdist(inside_SC, picture_CHW.flatten(1).T) < SAME_LEVELS
    area_S = is_same_SP.sum(1)
    is_rare_S = (area_S >= SMALLEST * height * width) & (area_S <= LARGEST * height * width)
    inside_SC, area_S, is_same_SP = inside_SC[is_rare_S], area_S[is_rare_S], is_same_SP[is_rare_S].float()
    places_P2 = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float() / min(height, width)
    mean_S2, square_S2 = (is_same_SP @ powers / area_S[:, None] for powers in (places_P2, places_P2.square()))
    is_compact_S = (square_S2 - mean_S2.square()).sum(1) <= COMPACT**2
    found: list[torch.Tensor] = []
    for colour_C in inside_SC[is_compact_S][area_S[is_compact_S].argsort(descending=True, stable=True)]:
        is_new = not found or bool((torch.stack(found) - colour_C).norm(dim=1).min() >= SAME_LEVELS)
        if is_new and len(found) < MOST_THINGS:
            found.append(colour_C)
    return torch.stack(found) if found else torch.zeros(0, 3)


def areas(frames_TCHW: torch.Tensor, colours_KC: torch.Tensor) -> NDArray[np.int64]:
    """How many pixels of each frame have each colour, [T,K]."""
    pixels_TPC = frames_TCHW.flatten(2).transpose(1, 2)
    result: NDArray[np.int64] = (torch.cdist(pixels_TPC, colours_KC) < SAME_LEVELS).sum(1).numpy()
    return result
