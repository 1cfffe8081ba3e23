"""The transformer block: causal self-attention, cross-attention to text, gated MLP, each behind an RMS norm.

With a cache it keeps keys and values, from which `decode_step` goes on row by row.

Shape legend: B batch, N tokens, M keys, S rows, L text rows, H query heads, K key heads, D width, E head width (rotary
tables: half of it), C channels of the text.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.families.autoregressive.attention import attention
from worldtune.families.autoregressive.cache import LayerCache
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.guide import Rows
from worldtune.networks.rms_norm import RMSNorm, Rotary, rotate

HEAD_NORM_EPS = 1e-5
"""Added to the mean square of a head's query or key: NVIDIA's networks pass their norm_eps to the other norms only."""


class Attention(nn.Module):
    """Projections to heads and back, with queries and keys normalised."""

    def __init__(self, config: NetworkConfig, context_channels: int) -> None:
        super().__init__()
        wide, narrow = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.to_q = nn.Linear(config.width, wide, bias=False)
        self.to_k = nn.Linear(context_channels, narrow, bias=False)
        self.to_v = nn.Linear(context_channels, narrow, bias=False)
        self.to_out = nn.Linear(wide, config.width, bias=False)
        self.norm_q = RMSNorm(config.head_dim, HEAD_NORM_EPS) if config.qk_norm else None
        self.norm_k = RMSNorm(config.head_dim, HEAD_NORM_EPS) if config.qk_norm else None
        self.head_dim = config.head_dim

    def _heads(self, x_BND: Tensor) -> Tensor:
        return x_BND.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def queries(self, x_BND: Tensor, rotary: Rotary | None = None) -> Tensor:
        """[B, H, N, E]; `rotary` is (cos, sin), each [N, E / 2]."""
        return _placed(self._heads(self.to_q(x_BND)), self.norm_q, rotary)

    def keys_values(self, context_BMC: Tensor, rotary: Rotary | None = None) -> tuple[Tensor, Tensor]:
        """Two [B, K, M, E], of which keys turn."""
        k_BKME, v_BKME = self._heads(self.to_k(context_BMC)), self._heads(self.to_v(context_BMC))
        return _placed(k_BKME, self.norm_k, rotary), v_BKME

    def project(self, out_BHNE: Tensor) -> Tensor:
        """[B, N, D]."""
        return self.to_out(out_BHNE.transpose(1, 2).flatten(2))


def _placed(x_BHNE: Tensor, norm: RMSNorm | None, rotary: Rotary | None) -> Tensor:
    """Normalised and turned, each only if the network does."""
    if norm is not None:
        return norm(x_BHNE, rotary)
    return x_BHNE if rotary is None else rotate(x_BHNE, rotary)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate x) * up x)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class CrossAttention(nn.Module):
    """Norm and attention to the text, what a block gains when its base is made to read text."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config, config.text_channels)

    def reset_parameters(self, layer: int) -> None:
        """As the network's other attention, but with zero output."""
        self.norm.reset_parameters()
        initialise_attention(self.attention, layer)
        nn.init.zeros_(self.attention.to_out.weight)

    def forward(self, x_BND: Tensor, keys_values: tuple[Tensor, Tensor], mask_NM: Tensor | None) -> Tensor:
        """What to add to x."""
        return self.attention.project(attention(self.attention.queries(self.norm(x_BND)), *keys_values, mask_NM))


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: NetworkConfig, layer: int) -> None:
        super().__init__()
        self.self_norm = RMSNorm(config.width, config.norm_eps)
        self.self_attention = Attention(config, config.width)
        self.cross = CrossAttention(config) if config.has_cross_attention(layer) else None
        self.mlp_norm = RMSNorm(config.width, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x_BND: Tensor, rows: Rows, cache: LayerCache | None) -> Tensor:
        """Same shape as x, which are the rows of a sequence from its first on. They fill the cache if any."""
        if rows.absolute_ND is not None:
            x_BND = x_BND + rows.absolute_ND
        x_BND = x_BND + self._attend_self(self.self_norm(x_BND), rows, cache)
        if self.cross is not None and rows.text_BLC is not None:
            kept = None if cache is None else cache.text_keys_values
            keys_values = kept or self.cross.attention.keys_values(rows.text_BLC)
            x_BND = x_BND + self.cross(x_BND, keys_values, rows.text_mask_NL)
        return x_BND + self.mlp(self.mlp_norm(x_BND))

    def _attend_self(self, x_BND: Tensor, rows: Rows, cache: LayerCache | None) -> Tensor:
        layer, rotary = self.self_attention, (rows.cos_NE, rows.sin_NE)
        q_BHNE, (k_BKNE, v_BKNE) = layer.queries(x_BND, rotary), layer.keys_values(x_BND, rotary)
        if cache is not None:
            cache.keys_BKSE[:, :, : k_BKNE.shape[2]] = k_BKNE
            cache.values_BKSE[:, :, : k_BKNE.shape[2]] = v_BKNE
        return layer.project(attention(q_BHNE, k_BKNE, v_BKNE, causal=True))


def initialise_attention(attention_layer: Attention, layer: int) -> None:
    """Truncated normal, std 0.02; the output shrinks with depth (facts: initialisation of new layers)."""
    for norm in (attention_layer.norm_q, attention_layer.norm_k):
        if norm is not None:
            norm.reset_parameters()
    for linear in (attention_layer.to_q, attention_layer.to_k, attention_layer.to_v):
        nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.trunc_normal_(attention_layer.to_out.weight, std=depth_std(layer))


def depth_std(layer: int) -> float:
    """Standard deviation of what writes into the residual stream in this block."""
    return 0.02 / (2 * (layer + 1)) ** 0.5
