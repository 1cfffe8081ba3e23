"""The Cosmos-1 autoregressive transformer over video tokens, for training and generation (facts: Cosmos AR, 1.2-1.6).

Shape legend: B batch, V views, T latent frames, H W latent grid, N tokens of a pass, S rows, L text rows, C channels,
D width, P blocks, F frames of single views, K key heads, E head width, X vocabulary.
"""

import torch
from torch import Tensor, nn

from worldtune.contract.condition import Widths
from worldtune.families.autoregressive.blocks import Block, CrossAttention, depth_std, initialise_attention
from worldtune.families.autoregressive.cache import Cache, LayerCache
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.guide import Rows, position_tables, text_mask
from worldtune.families.autoregressive.inject import DenseInjection, FrameInjection, ViewEmbedding, embedding_table
from worldtune.families.autoregressive.layout import Layout
from worldtune.networks.rms_norm import RMSNorm


class VideoTransformer(nn.Module):
    """Predicts the next token of a clip. `widths` says which carriers it is built for; they start with zero output."""

    def __init__(self, config: NetworkConfig, widths: Widths) -> None:
        super().__init__()
        if widths.text and not config.cross_attention_every:
            raise ValueError("the network has no cross-attention for the controls' text")
        if widths.text not in (0, config.text_channels):
            raise ValueError(
                f"the network reads text of width {config.text_channels}, the controls bring {widths.text}"
            )
        self.config, self.widths = config, widths
        self.embed = embedding_table(config.num_embeddings, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.output = nn.Linear(config.width, config.vocab_size, bias=False)
        self.frame_injection = FrameInjection(widths.frame, config.width, config.num_layers) if widths.frame else None
        self.dense_injection = DenseInjection(widths.dense, config.width) if widths.dense else None
        self.view_embedding = ViewEmbedding(config.width) if widths.dense else None
        if not self.embed.weight.is_meta:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as the released models were."""
        nn.init.normal_(self.embed.weight)
        std = self.config.width**-0.5
        nn.init.trunc_normal_(self.output.weight, std=std, a=-3 * std, b=3 * std)
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            initialise_attention(block.self_attention, layer)
            if block.cross is not None:
                initialise_attention(block.cross.attention, layer)
            nn.init.trunc_normal_(block.mlp.gate.weight, std=0.02)
            nn.init.trunc_normal_(block.mlp.up.weight, std=depth_std(layer))
            nn.init.trunc_normal_(block.mlp.down.weight, std=depth_std(layer))
        for module in (self.frame_injection, self.dense_injection, self.view_embedding):
            if module is not None:
                module.reset_parameters()

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of activations: autocast's where it is on, else that of the weights."""
        device = self.embed.weight.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.embed.weight.dtype

    def layout(self, views: int, frames: int, height: int, width: int) -> Layout:
        """The sequence of a clip's grid. ValueError when it is larger than what the base was trained on."""
        config = self.config
        limit = (config.max_frames, config.max_height, config.max_width)
        if any(size > most for size, most in zip((frames, height, width), limit, strict=True)):
            raise ValueError(f"latent grid (T, H, W) {(frames, height, width)} is larger than the network's {limit}")
        return Layout(views=views, frames=frames, height=height, width=width, num_begin=config.num_begin)

    def guide(
        self,
        layout: Layout,
        *,
        text_BVLC: Tensor | None = None,
        frame_BVTC: Tensor | None = None,
        dense_BVTHWC: Tensor | None = None,
        camera_BV: Tensor | None = None,
    ) -> Rows:
        """All rows of a clip. Text None is the same as zero text; zero rows of text are attended to, as in Cosmos.

        camera: which of the network's views each one is; None: in order. Raises ValueError for a carrier that the
        network was not built for, for a missing one, and for another shape.
        """
        grid = (layout.views, layout.frames)
        check_given("frame carrier", frame_BVTC, grid, self.widths.frame)
        check_given("dense carrier", dense_BVTHWC, (*grid, layout.height, layout.width), self.widths.dense)
        device, dtype = self.embed.weight.device, self.compute_dtype
        cos_SE, sin_SE, absolute_SD = position_tables(self.config, layout, device, dtype)
        text_BLC, mask_SL = None, None
        if text_BVLC is not None:
            self._check_text(text_BVLC, layout)
            text_BLC = text_BVLC.flatten(1, 2).to(dtype)
            mask_SL = text_mask(layout, text_BVLC.shape[2], device)
        return Rows(
            cos_NE=cos_SE,
            sin_NE=sin_SE,
            absolute_ND=absolute_SD,
            added_BND=self._added(layout, dense_BVTHWC, camera_BV, dtype),
            told_PBFD=self._told(frame_BVTC, dtype),
            told_N=layout.told_of_row(device),
            text_BLC=text_BLC,
            text_mask_NL=mask_SL,
        )

    def _check_text(self, text_BVLC: Tensor, layout: Layout) -> None:
        if not self.config.cross_attention_every:
            raise ValueError("the network was not built for a text carrier")
        wanted = (layout.views, self.config.text_channels)
        if text_BVLC.ndim != 4 or (text_BVLC.shape[1], text_BVLC.shape[3]) != wanted:
            raise ValueError(f"text must be [B, {wanted[0]}, L, {wanted[1]}], got {list(text_BVLC.shape)}")

    def _added(
        self,
        layout: Layout,
        dense_BVTHWC: Tensor | None,
        camera_BV: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor | None:
        """[B or 1, S, D]: dense controls of the predicted cell, and the token's own view."""
        parts = []
        if self.dense_injection is not None and dense_BVTHWC is not None:
            parts.append(layout.at_predictors(self.dense_injection(dense_BVTHWC.to(dtype), layout)))
        if self.view_embedding is not None:
            parts.append(self.view_embedding(layout, camera_BV))
        return sum(parts[1:], start=parts[0]).to(dtype) if parts else None

    def _told(self, frame_BVTC: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        if self.frame_injection is None or frame_BVTC is None:
            return None
        told_PBFD: Tensor = self.frame_injection(frame_BVTC.to(dtype))
        return told_PBFD.to(dtype)

    def hidden(self, tokens_BN: Tensor, rows: Rows, cache: Cache | None = None) -> Tensor:
        """Normalised states [B, N, D], from which `output` predicts the token after each.

        Tokens are a sequence from its first row on. They fill the cache if there is one; `DecodeStep` goes on from it.
        """
        rows = rows.first(tokens_BN.shape[1])
        x_BND = self.embed(tokens_BN).to(self.compute_dtype)
        if rows.added_BND is not None:
            x_BND = x_BND + rows.added_BND
        for index, block in enumerate(self.blocks):
            if rows.told_PBFD is not None:
                x_BND = x_BND + rows.told_PBFD[index, :, rows.told_N]
            x_BND = block(x_BND, rows, None if cache is None else cache.layers[index])
        return self.norm(x_BND)

    def forward(self, tokens_BN: Tensor, rows: Rows, cache: Cache | None = None) -> Tensor:
        """Logits of the next token, [B, N, X]. See `hidden`."""
        return self.output(self.hidden(tokens_BN, rows, cache))

    def new_cache(self, batch: int, num_rows: int, rows: Rows) -> Cache:
        """Empty buffers for a batch, with the keys and values of the text in them."""
        config, device, dtype = self.config, self.embed.weight.device, self.compute_dtype
        shape = (config.num_layers, batch, 2 * config.num_kv_heads, num_rows, config.head_dim)
        both_PBJSE = torch.zeros(shape, device=device, dtype=dtype)
        layers = []
        for block, both_BJSE in zip(self.blocks, both_PBJSE, strict=True):
            cross = block.cross
            assert cross is None or isinstance(cross, CrossAttention)
            text = None
            if cross is not None and rows.text_BLC is not None:
                text = cross.attention.keys_values(rows.text_BLC)
            keys_BKSE, values_BKSE = both_BJSE.chunk(2, 1)
            layers.append(LayerCache(keys_BKSE=keys_BKSE, values_BKSE=values_BKSE, text_keys_values=text))
        return Cache(both_PBJSE=both_PBJSE, layers=layers)


def check_given(name: str, tensor: Tensor | None, shape: tuple[int, ...], channels: int) -> None:
    """ValueError unless the carrier is there exactly when the network has channels for it, as [B, shape, channels]."""
    if not channels and tensor is not None:
        raise ValueError(f"the network was not built for a {name}")
    if channels and tensor is None:
        raise ValueError(f"the network was built for a {name} and got none")
    if channels and tensor is not None and tensor.shape[1:] != (*shape, channels):
        raise ValueError(f"the {name} must be [B, {', '.join(map(str, (*shape, channels)))}], got {list(tensor.shape)}")
