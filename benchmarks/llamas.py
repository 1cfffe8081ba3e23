"""Networks of one shape with equal weights and positions: ours, transformers' Llama and litgpt's.

What Llama cannot express is off: text, begin token, norm of queries and keys.
"""

import importlib.util
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from worldtune.contract.condition import Widths
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.guide import position_tables
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.presets import preset

_LLAMA_NAMES = {
    "embed": "model.embed_tokens", "norm": "model.norm", "output": "lm_head", "blocks": "model.layers",
    "self_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", "self_attention": "self_attn",
    "to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "o_proj", "gate": "gate_proj", "up": "up_proj",
    "down": "down_proj",
}  # fmt: skip
_LITGPT_NAMES = {
    "embed": "transformer.wte", "norm": "transformer.ln_f", "output": "lm_head", "blocks": "transformer.h",
    "self_norm": "norm_1", "mlp_norm": "norm_2", "self_attention": "attn", "to_out": "proj", "gate": "fc_1",
    "up": "fc_2", "down": "proj",
}  # fmt: skip


def plain(config: NetworkConfig, **sizes: int) -> NetworkConfig:
    """What Llama can express."""
    return replace(config, begin_token=False, cross_attention_every=0, qk_norm=False, **sizes)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A network; a clip fills its largest grid."""

    network: NetworkConfig
    training_batch: int
    """Clips of a training step; 0 when training is not measured."""
    generated: tuple[int, ...]
    """Clips generated together, one measurement each."""
    uncached: bool = False
    """Whether a single clip is generated without a cache too."""

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, rows, columns."""
        return self.network.max_frames, self.network.max_height, self.network.max_width

    @property
    def num_made(self) -> int:
        """Tokens of a clip after its first frame."""
        return (self.grid[0] - 1) * self.grid[1] * self.grid[2]

    def num_parameters(self) -> tuple[int, int]:
        """All, and those that making a token reads: all but the embedding table."""
        with torch.device("meta"):
            network = VideoTransformer(self.network, Widths())
        count = sum(p.numel() for p in network.parameters())
        return count, count - network.embed.weight.numel()


SHAPES = {
    "nano": Shape(network=plain(preset("nano")), training_batch=8, generated=(1, 8), uncached=True),
    "cosmos": Shape(
        network=plain(
            preset("cosmos-4b"), width=1024, num_layers=4, num_heads=8, num_kv_heads=2, mlp_width=3584, max_frames=4,
            max_height=16, max_width=16,
        ),
        training_batch=1,
        generated=(),
    ),
    "wide": Shape(
        network=plain(preset("cosmos-4b"), num_layers=2, max_frames=17, max_height=1, max_width=1),
        training_batch=0,
        generated=(1,),
    ),
}  # fmt: skip
"""cosmos: the layers of the 4B model at a quarter of its width and depth, 1,024 tokens, the whole vocabulary.
wide: two layers of the 4B model as they are, with its vocabulary; clips of single tokens, so all time is decoding."""


def ours(shape: Shape, seed: int) -> VideoTransformer:
    """Our network with random weights."""
    torch.manual_seed(seed)
    return VideoTransformer(shape.network, Widths())


def llama(network: VideoTransformer) -> Any:
    """Llama on the memory of our weights."""
    config = network.config
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                intermediate_size=config.mlp_width,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                num_key_value_heads=config.num_kv_heads,
                head_dim=config.head_dim,
                rms_norm_eps=config.norm_eps,
                max_position_embeddings=4096,
                tie_word_embeddings=False,
                bos_token_id=None,
                eos_token_id=None,
                attn_implementation="sdpa",
            )
        )
    weights = {_renamed(key, _LLAMA_NAMES): tensor for key, tensor in network.state_dict().items()}
    model.load_state_dict(weights, strict=True, assign=True)
    model.model.rotary_emb = SamePositions(network)
    return model.requires_grad_(True)


def litgpt(network: VideoTransformer) -> Any:
    """litgpt's model on the memory of our weights (but queries, keys and values, one matrix there).

    None when litgpt is not installed.
    """
    if importlib.util.find_spec("litgpt") is None:
        return None
    from litgpt import GPT, Config

    config = network.config
    cos_SD, sin_SD = _positions(network)
    model = GPT(
        Config(
            block_size=len(cos_SD),
            vocab_size=config.vocab_size,
            padded_vocab_size=config.vocab_size,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            n_query_groups=config.num_kv_heads,
            head_size=config.head_dim,
            n_embd=config.width,
            intermediate_size=config.mlp_width,
            norm_class_name="RMSNorm",
            norm_eps=config.norm_eps,
            mlp_class_name="LLaMAMLP",
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
        )
    )
    weights = {_renamed(key, _LITGPT_NAMES): tensor for key, tensor in network.state_dict().items()}
    for layer in range(config.num_layers):
        owner = f"transformer.h.{layer}.attn"
        parts = [weights.pop(f"{owner}.{name}.weight") for name in ("to_q", "to_k", "to_v")]
        weights[f"{owner}.qkv.weight"] = torch.cat(parts)
    model.load_state_dict(weights, strict=True, assign=True)
    model.cos, model.sin = cos_SD, sin_SD
    return model.requires_grad_(True)


class SamePositions(nn.Module):
    """Gives Llama our rotary tables, so that both compute the same."""

    def __init__(self, network: VideoTransformer) -> None:
        super().__init__()
        self.cos_SD, self.sin_SD = _positions(network)

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [B, N, D] at the positions."""
        return self.cos_SD[position_ids].to(x.dtype), self.sin_SD[position_ids].to(x.dtype)


def _positions(network: VideoTransformer) -> tuple[Tensor, Tensor]:
    """Our rotary tables for both halves of a head, [S, D]."""
    config = network.config
    layout = network.layout(1, config.max_frames, config.max_height, config.max_width)
    cos_SE, sin_SE, _ = position_tables(config, layout, torch.device("cpu"), torch.float32)
    return torch.cat([cos_SE, cos_SE], dim=-1), torch.cat([sin_SE, sin_SE], dim=-1)


def _renamed(key: str, names: dict[str, str]) -> str:
    return ".".join(names.get(word, word) for word in key.split("."))
