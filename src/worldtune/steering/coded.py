"""Pixels to what the network models, and back.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

import numpy as np
import torch
from torch import Tensor

from worldtune.contract.latents import Normalisation
from worldtune.contract.protocols import Codec


class Coded:
    """A codec with the normalisation of its latents; tokens have none."""

    def __init__(self, codec: Codec, device: torch.device) -> None:
        self._codec, self._device = codec, device

    @property
    def is_discrete(self) -> bool:
        """Whether frames become tokens, which mean the same wherever they stand."""
        return self._codec.num_codes is not None

    def encoded(self, frames_VTHWC: np.ndarray) -> Tensor:
        """uint8 pixels -> normalised latents [V,t,h,w,C] or tokens [V,t,h,w]."""
        raw = self._codec.encode(torch.from_numpy(np.array(frames_VTHWC))[None].to(self._device))[0]
        if self.is_discrete:
            return raw
        return self._normalisation(raw).normalised(raw)

    def decoded(self, target: Tensor) -> np.ndarray:
        """Normalised latents or tokens -> uint8 pixels [V,T,H,W,3]."""
        raw = target if self.is_discrete else self._normalisation(target).raw(target)
        return self._codec.decode(raw[None])[0].cpu().numpy()

    def _normalisation(self, latent_VTHWC: Tensor) -> Normalisation:
        return Normalisation(*self._codec.statistics(latent_VTHWC.shape[1]))
