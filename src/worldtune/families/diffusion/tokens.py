"""Input channels of the diffusion decoder: what the tokens of a discrete codec say about a clip.

Shape legend: B batch, V views, T latent frames, H W latent grid or the tokens' own, C channels, N frames of all clips.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.families.diffusion.config import NetworkConfig


class TokenChannels(nn.Module):
    """A learned vector per token id, spread from the tokens' grid over the latent grid (facts: diffusion decoder)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.num_tokens, config.token_channels)

    def reset_parameters(self) -> None:
        """Zero."""
        nn.init.zeros_(self.embed.weight)

    def forward(self, x_BVTHWC: Tensor, tokens_BVTHW: Tensor) -> Tensor:
        """[B, V, T, H, W, token channels] on the grid of x, bilinear in height and width."""
        vectors_NCHW = self.embed(tokens_BVTHW.flatten(0, 2)).movedim(-1, 1)
        spread_NCHW = F.interpolate(vectors_NCHW, size=tuple(x_BVTHWC.shape[3:5]), mode="bilinear", align_corners=False)
        return spread_NCHW.movedim(1, -1).unflatten(0, x_BVTHWC.shape[:3]).to(x_BVTHWC.dtype)
