"""How controls enter. Every output starts at zero, so the conditioned network equals its base at step 0.

Shape legend: B batch, F frames of all views, S tokens of one frame, K numbers of a control, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = 8.0
"""Factor on every output. An optimizer like Adam moves each weight by about the learning rate in a step, however small
its gradient; what starts at zero must go further than what the base has learned already, in a few hundred steps.
A power of two is exact: files of other trainers, which have no such factor, are read and written without loss."""


class FrameInjection(nn.Module):
    """One vector per latent frame: added to the timestep embedding, to the AdaLN-LoRA vector and to all its tokens.

    What is added reads a hidden layer and the numbers as they are: that is sooner heard than either alone
    (docs/injection.md).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, width)
        self.out = nn.Linear(width + channels, 5 * width)
        self.width = width

    def reset_parameters(self) -> None:
        """Default hidden layer, zero output."""
        self.hidden.reset_parameters()
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, frame_BFK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What to add to the embedding [B, F, D], the AdaLN-LoRA vector [B, F, 3D] and the tokens [B, F, 1, D]."""
        out = GAIN * self.out(torch.cat([F.gelu(self.hidden(frame_BFK)), frame_BFK], -1))
        embedding_BFD, lora_BFK, token_BFD = out.split([self.width, 3 * self.width, self.width], dim=-1)
        return embedding_BFD, lora_BFK, token_BFD.unsqueeze(2)


class DenseInjection(nn.Module):
    """One vector per latent cell: further input channels of the patch embedding.

    They have a weight of their own. It is the same sum as wider rows of the base's patch embedding, and it leaves the
    base's weight as it is: frozen under LoRA while these columns learn, and bit for bit the base at step 0.
    """

    def __init__(self, channels: int, patch_spatial: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels * patch_spatial**2, width, bias=False)

    def reset_parameters(self) -> None:
        """Zero."""
        nn.init.zeros_(self.proj.weight)

    def forward(self, patches_BFSK: Tensor) -> Tensor:
        """[B, F, S, D] to add to the embedded patches."""
        return GAIN * self.proj(patches_BFSK)
