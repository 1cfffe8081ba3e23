"""NVIDIA's discrete video tokenizer (DV8x16x16 and relatives) as a codec. README.md says what it reads."""

from worldtune.codecs.discrete_video.codec import DiscreteVideoCodec, from_checkpoint, load
from worldtune.networks.causal_video.config import DV8X16X16_720P
from worldtune.networks.quantizer import COSMOS_LEVELS, Quantizer

__all__ = ["COSMOS_LEVELS", "DV8X16X16_720P", "DiscreteVideoCodec", "Quantizer", "from_checkpoint", "load"]
