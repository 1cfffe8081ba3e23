"""The models of the line by name (facts: sizes of Cosmos-1 and Cosmos-Predict1, and our own nano)."""

from dataclasses import replace

from worldtune.contract.errors import suggest
from worldtune.families.diffusion.config import NetworkConfig

_7B = NetworkConfig(width=4096, num_blocks=28, num_heads=32, rope_ratio_t=2.0)
_14B = NetworkConfig(width=5120, num_blocks=36, num_heads=40, rope_ratio_h=2.0, rope_ratio_w=2.0, rope_ratio_t=2.0)
_7B_MULTIVIEW = replace(_7B, rope_ratio_t=1.0, positions="sincos", num_views=6, view_channels=6, frame_repeat=True)
"""Rotary ratios as in NVIDIA's generation code; its post-training configuration stretches time by 2."""
_7B_DECODER = replace(
    _7B,
    rope_ratio_h=1.5,
    rope_ratio_w=1.5,
    rope_ratio_t=1.0,
    positions="none",
    num_tokens=64_000,
    token_channels=32,
)
"""From the tokens of DV8x16x16 to the latents of CV8x8x8: 16 noisy, 32 token and 1 padding channel make 49."""

NANO = NetworkConfig(
    width=192,
    num_blocks=7,
    num_heads=3,
    text_channels=256,
    adaln_rank=32,
    max_height=16,
    max_width=16,
    max_frames=32,
    condition_mask=True,
)
"""Small enough to be shipped and to train on a laptop; the same class as the others."""

NANO_DECODER = NetworkConfig(
    width=96,
    num_blocks=3,
    num_heads=3,
    text_channels=1,
    adaln_rank=16,
    patch_spatial=1,
    positions="none",
)
"""Draws what a discrete codec's decoder blurs, given that clip's latents as a dense carrier. Nobody gives it text, and
without text its cross-attention is not computed."""

PRESETS = {
    "cosmos-7b-text2world": _7B,
    "cosmos-7b-video2world": replace(_7B, condition_mask=True),
    "cosmos-14b-text2world": _14B,
    "cosmos-14b-video2world": replace(_14B, condition_mask=True),
    "cosmos-7b-text2world-multiview": _7B_MULTIVIEW,
    "cosmos-7b-video2world-multiview": replace(_7B_MULTIVIEW, condition_mask=True),
    "cosmos-7b-decoder": _7B_DECODER,
    "nano": NANO,
    "nano-decoder": NANO_DECODER,
}


def preset(name: str) -> NetworkConfig:
    """A configuration by name. ValueError naming the nearest when there is none."""
    if name not in PRESETS:
        raise ValueError(f"no model {name!r} in the diffusion family: {suggest(name, PRESETS)}")
    return PRESETS[name]
