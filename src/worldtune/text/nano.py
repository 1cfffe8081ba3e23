"""The nano text encoder: words as bags of hashed letter groups, mixed by a small transformer.

Hashing means that any word of any caption has a representation, known or not. Pre-trained by predicting masked words
of the worlds' texts (nano/train_text.py).

Shape legend: B batch, L words, G letter groups of a word, D width.
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldtune.contract.files import file_hash, read_json, write_json, write_whole

MAX_GROUPS = 24
"""Letter groups kept of one word; longer words are cut."""


@dataclass(frozen=True, kw_only=True)
class NanoTextConfig:
    """Sizes of the nano text encoder."""

    width: int = 256
    """Width of the rows a family sees."""
    hidden: int = 128
    """Width inside."""
    layers: int = 2
    heads: int = 4
    buckets: int = 4096
    """Rows of the hashed embedding."""
    max_length: int = 32
    """Words kept of a text."""


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers, in order."""
    return re.findall(r"[^\W_]+", text.lower())


def groups_of(word: str, buckets: int) -> list[int]:
    """Bucket of the word itself and of its letter groups of 3 and 4, at most MAX_GROUPS. Bucket 0 is padding."""
    padded = f"<{word}>"
    groups = [padded] + [padded[i : i + n] for n in (3, 4) for i in range(len(padded) - n + 1)]
    return [1 + zlib.crc32(group.encode()) % (buckets - 1) for group in groups[:MAX_GROUPS]]


class TextNetwork(nn.Module):
    """Hashed bags -> transformer -> rows."""

    def __init__(self, config: NanoTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.EmbeddingBag(config.buckets, config.hidden, mode="mean", padding_idx=0)
        self.position = nn.Parameter(torch.randn(config.max_length, config.hidden) * 0.02)
        layer = nn.TransformerEncoderLayer(
            config.hidden, config.heads, 4 * config.hidden, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.hidden)
        self.out = nn.Linear(config.hidden, config.width)

    def words(self, groups_BLG: Tensor) -> Tensor:
        """Embedding of every word on its own, [B,L,hidden]."""
        return self.embedding(groups_BLG.flatten(0, 1)).unflatten(0, groups_BLG.shape[:2])

    def mix(self, words_BLD: Tensor, is_padding_BL: Tensor) -> Tensor:
        """Words in context, normalised, [B,L,hidden]."""
        mixed: Tensor = self.layers(words_BLD + self.position[: words_BLD.shape[1]], src_key_padding_mask=is_padding_BL)
        return self.norm(mixed)

    def forward(self, groups_BLG: Tensor) -> Tensor:
        """Bucket numbers, 0 is padding -> rows [B,L,width]."""
        return self.out(self.mix(self.words(groups_BLG), groups_BLG[:, :, 0] == 0))


def to_groups(texts: Sequence[str], config: NanoTextConfig) -> Tensor:
    """int64 [B, L, MAX_GROUPS], zero where there is no word; L is the longest text's length, at least 1."""
    words = [words_of(text)[: config.max_length] for text in texts]
    groups_BLG = torch.zeros(len(texts), max(1, *map(len, words)), MAX_GROUPS, dtype=torch.long)
    for row, text_words in enumerate(words):
        for column, word in enumerate(text_words):
            buckets = groups_of(word, config.buckets)
            groups_BLG[row, column, : len(buckets)] = torch.tensor(buckets)
    return groups_BLG


class NanoTextEncoder:
    """Implements `contract.protocols.TextEncoder`."""

    def __init__(self, network: TextNetwork, identity: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.identity = identity
        self.width = network.config.width
        self.max_length = network.config.max_length

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """One float32 [L, width] per text; a text without words gives L = 0. Independent of the other texts."""
        rows = []
        for text in texts:
            length = min(len(words_of(text)), self.max_length)
            rows.append(self.network(to_groups([text], self.network.config))[0, :length])
        return rows


def load(path: Path) -> NanoTextEncoder:
    """Load `words.json` and `model.safetensors` from a folder. ValueError naming the file that does not fit."""
    network = TextNetwork(NanoTextConfig(**read_json(path / "words.json")))
    weights = path / "model.safetensors"
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()}, strict=True)
    except (SafetensorError, FileNotFoundError, RuntimeError) as error:
        raise ValueError(f"{weights}: not the weights of this encoder ({str(error).splitlines()[0]})") from None
    return NanoTextEncoder(network, file_hash(weights))


def save(network: TextNetwork, path: Path) -> None:
    """Write a folder that `load` reads; weights in bfloat16."""
    write_json(path / "words.json", vars(network.config))
    with write_whole(path / "model.safetensors") as temporary:
        tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, temporary, {"config": json.dumps(vars(network.config))})
