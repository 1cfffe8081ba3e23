"""Shape of the network: everything that tells one model of the line from another."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from worldtune.contract.errors import suggest

Described = TypeVar("Described")
EMBEDDING_MULTIPLE = 64
"""The embedding table of a network with a begin token is padded to a multiple of this, as NVIDIA's is."""
MAY_BE_ZERO = {"cross_attention_every"}


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Hyper-parameters of the autoregressive transformer. Sizes "in latent" count cells of the codec's grid."""

    width: int
    """Channels of the residual stream, D."""
    num_layers: int
    """Transformer blocks."""
    num_heads: int
    """Query heads."""
    num_kv_heads: int
    """Key and value heads; each serves num_heads / num_kv_heads query heads."""
    head_dim: int
    """Channels of one head; num_heads head_dim need not be width."""
    mlp_width: int
    """Hidden width of the gated MLP."""
    vocab_size: int
    """Token ids of the codec: the network predicts 0 .. vocab_size - 1."""
    max_frames: int
    """Most latent frames of one view in a sequence: what the base was trained on."""
    max_height: int
    """Tallest latent grid."""
    max_width: int
    """Widest latent grid."""
    begin_token: bool = False
    """True when a sequence opens with the id vocab_size. Without it the first frame must be given."""
    cross_attention_every: int = 0
    """Blocks 0, k, 2k ... read text by cross-attention; 0 when none does."""
    text_channels: int = 1024
    """Width of the text rows."""
    absolute_positions: bool = False
    """True when a fixed sin-cos embedding of the position is added before every block."""
    qk_norm: bool = True
    """Normalise queries and keys per head."""
    norm_eps: float = 1e-5
    """Added to the mean square in every norm, those of heads apart."""
    rope_theta: float = 500000.0
    """Base of the rotary embedding."""
    yarn_scale: float = 1.0
    """YaRN: how much slower the low rotary frequencies turn than in the model that was extended; 1 is off."""
    yarn_frames: int = 1
    """YaRN: latent frames of the model that was extended."""
    yarn_side: int = 1
    """YaRN: latent rows of the model that was extended. It stands for columns too, as in Cosmos."""
    yarn_beta_fast: float = 4.0
    """YaRN: frequencies with more turns than this over the old length stay as they are."""
    yarn_beta_slow: float = 1.0
    """YaRN: frequencies with fewer turns than this are slowed by the whole yarn_scale."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in MAY_BE_ZERO else 1
            if type(value) is int and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
            if type(value) is float and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} must divide by num_kv_heads {self.num_kv_heads}")
        if self.head_dim % 2 or self.width % 2:
            raise ValueError(f"head_dim {self.head_dim} and width {self.width} must be even")
        if not self.yarn_beta_slow < self.yarn_beta_fast:
            raise ValueError(
                f"yarn_beta_slow {self.yarn_beta_slow} must lie below yarn_beta_fast {self.yarn_beta_fast}"
            )

    @property
    def num_begin(self) -> int:
        """Rows of a sequence before its first cell: 1 with a begin token, else 0."""
        return int(self.begin_token)

    @property
    def num_embeddings(self) -> int:
        """Rows of the embedding table."""
        if not self.begin_token:
            return self.vocab_size
        return -(-(self.vocab_size + 1) // EMBEDDING_MULTIPLE) * EMBEDDING_MULTIPLE

    def has_cross_attention(self, layer: int) -> bool:
        """Whether a block reads text."""
        return self.cross_attention_every > 0 and layer % self.cross_attention_every == 0


def from_json(owner: type[Described], values: Mapping[str, Any], source: Path) -> Described:
    """A dataclass of plain fields from a file's values. ValueError naming the file, the key, and what is wrong with it.

    Keys that are left out take their default.
    """
    known = {field.name: field.type for field in fields(owner)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{source}: unknown key {key!r}: {suggest(key, known)}")
        wanted = (int, float) if known[key] is float else (known[key],)
        if type(value) not in wanted:
            raise ValueError(f"{source}: {key} must be of type {wanted[-1].__name__}, got {value!r}")  # type: ignore
    try:
        return owner(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from None
