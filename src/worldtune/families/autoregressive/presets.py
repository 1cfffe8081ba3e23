"""The models of the line by name (facts: sizes of Cosmos-1 and Cosmos-Predict1, and our own nano)."""

from dataclasses import replace

from worldtune.contract.errors import suggest
from worldtune.families.autoregressive.config import NetworkConfig

_4B = NetworkConfig(
    width=4096,
    num_layers=16,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    mlp_width=14336,
    vocab_size=64000,
    max_frames=5,
    max_height=40,
    max_width=64,
)
_12B = replace(_4B, width=5120, num_layers=40, yarn_scale=2.0, yarn_frames=3, yarn_side=40)


def _video2world(base: NetworkConfig) -> NetworkConfig:
    """With text in every block, absolute positions and a begin token."""
    return replace(base, cross_attention_every=1, absolute_positions=True, begin_token=True)


NANO = NetworkConfig(
    width=192,
    num_layers=6,
    num_heads=3,
    num_kv_heads=1,
    head_dim=64,
    mlp_width=384,
    vocab_size=4096,
    max_frames=5,
    max_height=8,
    max_width=8,
    begin_token=True,
    cross_attention_every=3,
    text_channels=256,
)
"""Small enough to be shipped and to train on a laptop; the same class as the others. Vocabulary and grid are the
codec's: replace them with those of the codec at hand."""

PRESETS = {
    "cosmos-4b": _4B,
    "cosmos-5b-video2world": _video2world(_4B),
    "cosmos-12b": _12B,
    "cosmos-13b-video2world": _video2world(_12B),
    "nano": NANO,
}


def preset(name: str) -> NetworkConfig:
    """A configuration by name. ValueError naming the nearest when there is none."""
    if name not in PRESETS:
        raise ValueError(f"no model {name!r} in the autoregressive family: {suggest(name, PRESETS)}")
    return PRESETS[name]
