"""Memory that lets a causal network see a long clip window by window, with the result of one pass.

Shape legend: B batch, C channels, T frames, H W rows and columns.
"""

import torch
from torch import Tensor, nn


class Past:
    """What each causal layer remembers of the frames before the present window.

    One object serves one pass over one batch of clips. Layers call `recall` and `remember`; whoever cuts the windows
    calls `advance` after each. A network given no Past sees the whole clip at once.
    """

    def __init__(self) -> None:
        self.at_start = True
        self._kept: dict[nn.Module, Tensor] = {}

    def recall(self, layer: nn.Module) -> Tensor | None:
        """What the layer remembered in the last window, None in the first."""
        return self._kept.get(layer)

    def remember(self, layer: nn.Module, kept: Tensor) -> None:
        """Keep a copy, so that the window it is a part of can be freed."""
        self._kept[layer] = kept.clone()

    def advance(self) -> None:
        """The window is done; the next one follows it."""
        self.at_start = False


def starts_clip(past: Past | None) -> bool:
    """Whether the present window begins with the clip's first frame."""
    return past is None or past.at_start


def with_frames_before(layer: nn.Module, x_BCTHW: Tensor, num_frames: int, past: Past | None) -> Tensor:
    """Put `num_frames` earlier frames in front of the window: before the clip's start, its first frame repeated."""
    before = None if past is None else past.recall(layer)
    if before is None:
        before = x_BCTHW[:, :, :1].expand(-1, -1, num_frames, -1, -1)
    longer = torch.cat([before, x_BCTHW], 2)
    if past is not None:
        past.remember(layer, longer[:, :, -num_frames:])
    return longer
