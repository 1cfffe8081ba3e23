"""One table: what every tensor is called here and in NVIDIA's checkpoints (facts: Cosmos AR, 1.8).

`{i}` stands for the block's number. The prefix that NVIDIA's files may carry is not part of the names.
"""

import re
from collections.abc import Mapping

NVIDIA_PREFIX = "model."
"""On every key of a released `model.pt`."""

INJECTIONS = ("frame_injection.", "dense_injection.", "view_embedding.")
"""Ours only; an NVIDIA export keeps these names."""

_ATTENTION = {"to_q": "wq", "to_k": "wk", "to_v": "wv", "to_out": "wo", "norm_q": "q_norm", "norm_k": "k_norm"}
_MLP = {"gate": "w1", "up": "w3", "down": "w2"}

NVIDIA_FROM_OURS = {
    "embed.weight": "tok_embeddings.weight",
    "blocks.{i}.self_norm.weight": "layers.{i}.attention_norm.weight",
    **{f"blocks.{{i}}.self_attention.{a}.weight": f"layers.{{i}}.attention.{b}.weight" for a, b in _ATTENTION.items()},
    "blocks.{i}.cross.norm.weight": "layers.{i}.cross_attention_norm.weight",
    **{
        f"blocks.{{i}}.cross.attention.{a}.weight": f"layers.{{i}}.cross_attention.{b}.weight"
        for a, b in _ATTENTION.items()
    },
    "blocks.{i}.mlp_norm.weight": "layers.{i}.ffn_norm.weight",
    **{f"blocks.{{i}}.mlp.{a}.weight": f"layers.{{i}}.feed_forward.{b}.weight" for a, b in _MLP.items()},
    "norm.weight": "norm.weight",
    "output.weight": "output.weight",
    **{
        name: name
        for name in (
            *(f"frame_injection.{key}" for key in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")),
            "dense_injection.proj.weight",
            "view_embedding.table.weight",
        )
    },
}
OURS_FROM_NVIDIA = {theirs: ours for ours, theirs in NVIDIA_FROM_OURS.items()}

_NUMBER = re.compile(r"(?<=^blocks\.)\d+(?=\.)|(?<=^layers\.)\d+(?=\.)")


def _rename(names: Mapping[str, str], key: str) -> str | None:
    """Look up a name, with the number of the block put back; None when the table has no such row."""
    number = _NUMBER.search(key)
    target = names.get(_NUMBER.sub("{i}", key))
    return target if target is None or number is None else target.replace("{i}", number[0])


def ours_from_nvidia(key: str) -> str | None:
    """Our name of an NVIDIA tensor, prefix or not; None when it is not one of the model's."""
    return _rename(OURS_FROM_NVIDIA, key.removeprefix(NVIDIA_PREFIX))


def nvidia_from_ours(key: str) -> str | None:
    """NVIDIA's name of our tensor, without prefix; None when the table has no such tensor."""
    return _rename(NVIDIA_FROM_OURS, key)
