"""NVIDIA's continuous video tokenizer (CV8x8x8 and relatives) as a codec. README.md says what it reads and writes."""

from worldtune.codecs.continuous_video.codec import ContinuousVideoCodec, from_checkpoint, load
from worldtune.networks.causal_video.checkpoint import Checkpoint, Statistics
from worldtune.networks.causal_video.config import CV8X8X8_720P, TokenizerConfig
from worldtune.networks.causal_video.windows import Passes

__all__ = [
    "CV8X8X8_720P",
    "Checkpoint",
    "ContinuousVideoCodec",
    "Passes",
    "Statistics",
    "TokenizerConfig",
    "from_checkpoint",
    "load",
]
