"""The transformer block of GeneralDIT: self-attention, cross-attention and MLP, each modulated by AdaLN-LoRA.

Modulation has one row per sample or per latent frame, never per token. Internal layout: frames of all views, view
after view, times the tokens of one frame.

Shape legend: B batch, V views, F = V T frames of all views, G = 1 or F (one noise level per sample, or per frame),
S tokens of one frame, N tokens of an attention, M context rows, L text rows, H heads, D width, E half a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.families.diffusion.attention import attention
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.networks.rms_norm import RMSNorm, Rotary

NORM_EPS = 1e-6


class Modulation(nn.Module):
    """AdaLN-LoRA: from the activated embedding to `parts` vectors of width D."""

    def __init__(self, config: NetworkConfig, parts: int) -> None:
        super().__init__()
        self.down = nn.Linear(config.width, config.adaln_rank, bias=False)
        self.up = nn.Linear(config.adaln_rank, parts * config.width, bias=False)
        self.parts = parts

    def forward(self, embedding_BGD: Tensor, lora_BGK: Tensor) -> tuple[Tensor, ...]:
        """`parts` tensors [B, G, 1, D]; lora_BGK is added before the split, K = parts D."""
        return (self.up(self.down(embedding_BGD)) + lora_BGK).unsqueeze(2).chunk(self.parts, dim=-1)


def modulate(x_BFSD: Tensor, shift_BG1D: Tensor, scale_BG1D: Tensor) -> Tensor:
    """LayerNorm without own weights, then scale and shift; one kernel where they are the same for all tokens."""
    width = x_BFSD.shape[-1:]
    with torch.autocast(x_BFSD.device.type, enabled=False):
        if shift_BG1D.numel() == shift_BG1D.shape[-1]:
            return F.layer_norm(x_BFSD, width, 1 + scale_BG1D.flatten(), shift_BG1D.flatten(), NORM_EPS)
        return torch.addcmul(shift_BG1D, F.layer_norm(x_BFSD, width, eps=NORM_EPS), 1 + scale_BG1D)


class Attention(nn.Module):
    """Multi-head attention with RMSNorm on every head's query and key, no biases."""

    def __init__(self, config: NetworkConfig, context_channels: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(config.width, config.width, bias=False)
        self.to_k = nn.Linear(context_channels, config.width, bias=False)
        self.to_v = nn.Linear(context_channels, config.width, bias=False)
        self.to_out = nn.Linear(config.width, config.width, bias=False)
        self.norm_q = RMSNorm(config.head_dim, NORM_EPS)
        self.norm_k = RMSNorm(config.head_dim, NORM_EPS)
        self.heads = (config.num_heads, config.head_dim)

    def forward(self, x_BND: Tensor, context_BMD: Tensor, rotary: Rotary | None) -> Tensor:
        """[B, N, D]; `rotary` is (cos, sin), each [B or 1, N, 1, E], applied to queries and keys."""
        q = self.norm_q(self.to_q(x_BND).unflatten(-1, self.heads), rotary)
        k = self.norm_k(self.to_k(context_BMD).unflatten(-1, self.heads), rotary)
        v = self.to_v(context_BMD).unflatten(-1, self.heads)
        return self.to_out(attention(q, k, v).flatten(2))


class MLP(nn.Module):
    """Linear, exact GELU, linear; no biases."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        hidden = int(config.width * config.mlp_ratio)
        self.up = nn.Linear(config.width, hidden, bias=False)
        self.down = nn.Linear(hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """Three gated residual steps: self-attention over everything, cross-attention to each view's text, MLP."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.self_modulation = Modulation(config, 3)
        self.self_attention = Attention(config, config.width)
        self.cross_modulation = Modulation(config, 3)
        self.cross_attention = Attention(config, config.text_channels)
        self.mlp_modulation = Modulation(config, 3)
        self.mlp = MLP(config)

    def forward(
        self,
        x_BFSD: Tensor,
        position_BFSD: Tensor | None,
        embedding_BGD: Tensor,
        lora_BGK: Tensor,
        text_BVLD: Tensor | None,
        rotary: Rotary,
    ) -> Tensor:
        """[B, F, S, D]. The position embedding is added again in every block; B and G axes may be 1."""
        if position_BFSD is not None:
            x_BFSD = x_BFSD + position_BFSD
        shift, scale, gate = self.self_modulation(embedding_BGD, lora_BGK)
        tokens_BND = modulate(x_BFSD, shift, scale).flatten(1, 2)
        x_BFSD = torch.addcmul(x_BFSD, gate, self.self_attention(tokens_BND, tokens_BND, rotary).view_as(x_BFSD))
        if text_BVLD is not None:
            shift, scale, gate = self.cross_modulation(embedding_BGD, lora_BGK)
            x_BFSD = torch.addcmul(x_BFSD, gate, self.read_text(modulate(x_BFSD, shift, scale), text_BVLD))
        shift, scale, gate = self.mlp_modulation(embedding_BGD, lora_BGK)
        return torch.addcmul(x_BFSD, gate, self.mlp(modulate(x_BFSD, shift, scale)))

    def read_text(self, x_BFSD: Tensor, text_BVLD: Tensor) -> Tensor:
        """Cross-attention in which every view sees its own text only, [B, F, S, D]."""
        batch, views = text_BVLD.shape[:2]
        tokens = x_BFSD.reshape(batch * views, -1, x_BFSD.shape[-1])
        return self.cross_attention(tokens, text_BVLD.flatten(0, 1), None).view_as(x_BFSD)
