"""The network for one new token per sequence, prepared once and run for every row.

The numbers of `network.VideoTransformer`, from the same weights. At nano size a step is some hundred operations of a
few microseconds each, and how many there are is what it costs: so queries and keys turn together, in a buffer whose
views are made beforehand, matrix products add to the residual stream, and a row reads just the rows so far, without a
mask. At the size of the released models reading the weights is what it costs: they are not copied (but to another
dtype).

Shape legend: R samples (with guidance twice as many), N = S rows of the sequence, L text rows, H query heads, K key
heads, G = H / K, I = H + K, J = 2 K, O = I + K, E head width, F half of it, D width, C channels in or out, P layers,
M keys, X vocabulary. In what `Rows` tells, P blocks and F frames of single views.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.families.autoregressive.attention import attention
from worldtune.families.autoregressive.blocks import Attention, Block, CrossAttention
from worldtune.families.autoregressive.cache import Cache
from worldtune.families.autoregressive.guide import Rows
from worldtune.families.autoregressive.network import VideoTransformer

MOST_COPIED = 1 << 20
"""Weights of a matrix that is copied to be read faster."""


class DecodeStep:
    """Computes single rows of sequences whose earlier rows are in a cache."""

    def __init__(self, network: VideoTransformer, rows: Rows, cache: Cache) -> None:
        self._dtype = network.compute_dtype
        self._rows, self._cache = rows, cache
        self._told_N = rows.told_N.tolist()
        self._cos_N1F = rows.cos_NE[:, None]
        self._sin_N2F = torch.stack([-rows.sin_NE, rows.sin_NE], 1)
        self._embed_XD = network.embed.weight.detach()
        self._heads = _Heads(network, batch=cache.both_PBJSE.shape[1])
        self._layers = [_Layer(block, self._dtype) for block in network.blocks if isinstance(block, Block)]
        self._norm = _Norm(network.norm.weight, network.norm.eps, self._dtype)
        self._output_DX = _matrix(network.output, self._dtype)

    def logits(self, tokens_R: Tensor, row: int) -> Tensor:
        """Logits [R, X] of what follows these tokens, which stand at `row`. They join the rows before, in the cache."""
        with torch.autocast(tokens_R.device.type, enabled=False):
            return self._logits(tokens_R, row)

    def _logits(self, tokens_R: Tensor, row: int) -> Tensor:
        rows, heads = self._rows, self._heads
        x_RD = self._embed_XD.index_select(0, tokens_R).to(self._dtype)
        if rows.added_BND is not None:
            x_RD += rows.added_BND[:, row]
        absolute_D = None if rows.absolute_ND is None else rows.absolute_ND[row]
        mask_1L = None if rows.text_mask_NL is None else rows.text_mask_NL[row : row + 1]
        cos_1F, sin_2F = self._cos_N1F[row], self._sin_N2F[row]
        here = self._cache.both_PBJSE.select(3, row).unbind()
        told: Sequence[Tensor | None] = [None] * len(self._layers)
        if rows.told_PBFD is not None:
            told = rows.told_PBFD.select(2, self._told_N[row]).unbind()
        so_far = (part.unbind() for part in self._cache.both_PBJSE.narrow(3, 0, row + 1).chunk(2, 2))
        for layer, kept, told_RD, here_RJE, keys_RKME, values_RKME in zip(
            self._layers, self._cache.layers, told, here, *so_far, strict=True
        ):
            if told_RD is not None:
                x_RD += told_RD
            if absolute_D is not None:
                x_RD += absolute_D
            layer.project(x_RD, heads)
            heads.turn(cos_1F, sin_2F)
            here_RJE.copy_(heads.keys_values_RJE)
            attended_RKGE = attention(heads.queries_RKGE, keys_RKME, values_RKME)
            x_RD.addmm_(attended_RKGE.flatten(1), layer.out_CD)
            if layer.cross is not None and kept.text_keys_values is not None:
                layer.cross.add_to(x_RD, kept.text_keys_values, mask_1L)
            layer.add_mlp_to(x_RD)
        return self._norm(x_RD) @ self._output_DX


class _Heads:
    """Queries, keys and values of one row side by side, and views of them."""

    def __init__(self, network: VideoTransformer, batch: int) -> None:
        config, device = network.config, network.embed.weight.device
        counts = (config.num_heads, config.num_kv_heads, config.num_kv_heads)
        all_ROE = torch.empty(batch, sum(counts), config.head_dim, dtype=network.compute_dtype, device=device)
        self.flat = all_ROE.flatten(1).split([count * config.head_dim for count in counts], 1)
        self.queries_RKGE = all_ROE[:, : counts[0]].unflatten(1, (counts[1], -1))
        self.keys_values_RJE = all_ROE[:, counts[0] :]
        self.turning_RIE = all_ROE[:, : counts[0] + counts[1]]
        self._halves_RI2F = self.turning_RIE.unflatten(-1, (2, -1))

    def turn(self, cos_1F: Tensor, sin_2F: Tensor) -> None:
        """`rms_norm.rotate` of queries and keys, in place."""
        swapped_RI2F = self._halves_RI2F.flip(-2)
        self._halves_RI2F.mul_(cos_1F).addcmul_(swapped_RI2F, sin_2F)


class _Layer:
    """A block's weights and what is done with them."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        own, mlp = block.self_attention, block.mlp
        self._norm = _Norm(block.self_norm.weight, block.self_norm.eps, dtype)
        self._qkv = [_matrix(linear, dtype) for linear in (own.to_q, own.to_k, own.to_v)]
        self._norm_qk = _norm_of_heads(own, dtype)
        self.out_CD = _matrix(own.to_out, dtype)
        self.cross = None if block.cross is None else _Cross(block.cross, dtype)
        self._mlp_norm = _Norm(block.mlp_norm.weight, block.mlp_norm.eps, dtype)
        self._gate_DC, self._up_DC, self._down_CD = (_matrix(each, dtype) for each in (mlp.gate, mlp.up, mlp.down))

    def project(self, x_RD: Tensor, heads: _Heads) -> None:
        """Fill queries, keys and values."""
        normed_RD = self._norm(x_RD)
        for matrix_DC, flat_RC in zip(self._qkv, heads.flat, strict=True):
            torch.mm(normed_RD, matrix_DC, out=flat_RC)
        if self._norm_qk is not None:
            heads.turning_RIE.copy_(self._norm_qk(heads.turning_RIE))

    def add_mlp_to(self, x_RD: Tensor) -> None:
        """`blocks.MLP` behind its norm."""
        normed_RD = self._mlp_norm(x_RD)
        gate_RC = F.silu(normed_RD @ self._gate_DC, inplace=True)
        x_RD.addmm_(gate_RC.mul_(normed_RD @ self._up_DC), self._down_CD)


class _Cross:
    """Cross-attention to text whose keys and values are known."""

    def __init__(self, cross: CrossAttention, dtype: torch.dtype) -> None:
        owner = cross.attention
        self._norm = _Norm(cross.norm.weight, cross.norm.eps, dtype)
        self._to_q_DC, self._out_CD = _matrix(owner.to_q, dtype), _matrix(owner.to_out, dtype)
        self._norm_q = None if owner.norm_q is None else _Norm(owner.norm_q.weight, owner.norm_q.eps, dtype)
        self._head_dim = owner.head_dim

    def add_to(self, x_RD: Tensor, keys_values: tuple[Tensor, Tensor], mask_1L: Tensor | None) -> None:
        """In place."""
        keys_RKLE, values_RKLE = keys_values
        queries_RKGE = (self._norm(x_RD) @ self._to_q_DC).view(len(x_RD), keys_RKLE.shape[1], -1, self._head_dim)
        if self._norm_q is not None:
            queries_RKGE = self._norm_q(queries_RKGE)
        attended_RKGE = attention(queries_RKGE, keys_RKLE, values_RKLE, mask_1L)
        x_RD.addmm_(attended_RKGE.flatten(1), self._out_CD)


class _Norm:
    """`RMSNorm`, on CPUs in four operations instead of torch's eight."""

    def __init__(self, weight: Tensor, eps: float, dtype: torch.dtype) -> None:
        size = weight.shape[-1]
        self._weight, self._eps = weight.detach().to(dtype), eps
        self._scaled_weight = self._weight.float() * size**0.5
        self._least_length = torch.tensor((eps * size) ** 0.5, device=weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        """Over the last axis. x / sqrt(mean(x^2) + eps) = x sqrt(size) / hypot(|x|, sqrt(eps size))."""
        if x.device.type != "cpu":
            return F.rms_norm(x, x.shape[-1:], None, self._eps) * self._weight
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return x.div(length.hypot_(self._least_length)).mul_(self._scaled_weight).to(x.dtype)


def _norm_of_heads(owner: Attention, dtype: torch.dtype) -> _Norm | None:
    """That of queries and that of keys as one."""
    if owner.norm_q is None or owner.norm_k is None:
        return None
    queries, keys = (len(linear.weight) // owner.head_dim for linear in (owner.to_q, owner.to_k))
    weight_IE = torch.cat([owner.norm_q.weight.expand(queries, -1), owner.norm_k.weight.expand(keys, -1)])
    return _Norm(weight_IE, owner.norm_q.eps, dtype)


def _matrix(linear: nn.Linear, dtype: torch.dtype) -> Tensor:
    """[channels in, channels out]. Small ones are laid out so: CPUs read short rows of inputs at half the speed."""
    assert type(linear) is nn.Linear, f"decoding with {type(linear).__name__}: merge adapters first"
    matrix_CC = linear.weight.detach().to(dtype).t()
    return matrix_CC.contiguous() if matrix_CC.numel() <= MOST_COPIED else matrix_CC
