"""Shape of a causal video tokenizer, under NVIDIA's names, and the two published sizes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from worldtune.contract.errors import suggest

PATCH_METHODS = ("haar", "rearrange")

# Keys of NVIDIA's configuration that change nothing here: the factorised network always normalises in one group, and
# the quantiser lies outside it.
_WITHOUT_EFFECT = frozenset({"name", "num_groups", "levels", "num_quantizers", "persistent_quantizer"})
# Keys that are supported with one value only.
_FIXED = {"encoder": "FACTORIZED", "decoder": "FACTORIZED", "formulation": "AE", "z_factor": 1, "quantizer": "FSQ"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """How one level changes the sampling rate: by 2 in space, by 2 in time, both or neither."""

    spatial: bool
    temporal: bool


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Hyper-parameters of the encoder and decoder. The defaults are CV8x8x8-720p."""

    in_channels: int = 3
    """Colours of the video that goes in."""
    out_channels: int = 3
    """Colours of the video that comes out."""
    channels: int = 128
    """Channels after the first convolution."""
    channels_mult: tuple[int, ...] = (2, 4, 4)
    """Channels of each level, as a multiple of `channels`, finest level first."""
    num_res_blocks: int = 2
    """Residual blocks of an encoder level; a decoder level has one more."""
    attn_resolutions: tuple[int, ...] = (32,)
    """Levels of these resolutions attend; resolution counts as if the video had `resolution` rows."""
    resolution: int = 1024
    """Nominal rows of the video in px; only `attn_resolutions` looks at it."""
    dropout: float = 0.0
    """Dropout inside residual blocks, 0..1, in training."""
    patch_size: int = 4
    """Pixels and frames that the wavelet folds into channels; a power of two."""
    patch_method: str = "haar"
    """How patches are folded: a Haar wavelet, or a plain rearrangement."""
    z_channels: int = 16
    """Channels at the encoder's end and the decoder's start."""
    latent_channels: int = 16
    """Channels of the latent, between the two 1x1x1 convolutions; `embedding_dim` in a discrete tokenizer."""
    spatial_compression: int = 8
    """Pixels per latent cell along height and width; a power of two."""
    temporal_compression: int = 8
    """Pixel frames per latent frame; a power of two."""
    legacy_mode: bool = False
    """True for old checkpoints, whose decoder doubles time at the coarsest level instead of the one after."""

    def __post_init__(self) -> None:
        powers = {
            "patch_size": self.patch_size,
            "spatial_compression": self.spatial_compression,
            "temporal_compression": self.temporal_compression,
        }
        for name, value in powers.items():
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two, got {value}")
        if self.patch_method not in PATCH_METHODS:
            raise ValueError(f"patch_method must be one of {', '.join(PATCH_METHODS)}, got {self.patch_method!r}")
        counts = (self.in_channels, self.out_channels, self.channels, self.z_channels, self.latent_channels)
        if min(*counts, *self.channels_mult, self.num_res_blocks, self.resolution) < 1 or not self.channels_mult:
            raise ValueError(f"channel and block counts must be at least 1, got {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in 0..1, got {self.dropout}")

    @property
    def num_levels(self) -> int:
        """Resolution levels."""
        return len(self.channels_mult)

    @property
    def down_steps(self) -> tuple[Step, ...]:
        """What the encoder does after level 0, 1, ...; nothing follows the last level."""
        num_spatial, num_temporal = self._num_steps()
        return tuple(Step(spatial=i < num_spatial, temporal=i < num_temporal) for i in range(self.num_levels - 1))

    @property
    def up_steps(self) -> tuple[Step, ...]:
        """What the decoder does after its coarsest level, the next finer one, ...; nothing follows the finest.

        Space before time where space is compressed more, the mirror of the encoder's order (facts: Cosmos tokenizer).
        """
        num_spatial, num_temporal = self._num_steps()
        steps = []
        for i in range(self.num_levels - 1):
            temporal = i < num_temporal if self.legacy_mode else 0 < i < num_temporal + 1
            steps.append(Step(spatial=temporal or i < num_spatial > num_temporal, temporal=temporal))
        return tuple(steps)

    @property
    def frames_per_latent(self) -> int:
        """Pixel frames per latent frame that the encoder really has."""
        return self.patch_size * 2 ** sum(step.temporal for step in self.down_steps)

    @property
    def pixels_per_latent(self) -> int:
        """Pixels per latent cell that the encoder really has."""
        return self.patch_size * 2 ** sum(step.spatial for step in self.down_steps)

    def require_mirror(self, source: str) -> None:
        """Raise ValueError unless the decoder gives back the size that the encoder was given."""
        for axis, down, up in (
            ("spatial", [step.spatial for step in self.down_steps], [step.spatial for step in self.up_steps]),
            ("temporal", [step.temporal for step in self.down_steps], [step.temporal for step in self.up_steps]),
        ):
            if sum(down) != sum(up):
                raise ValueError(
                    f"{source}: the encoder halves {axis} resolution {sum(down)} times, the decoder doubles it "
                    f"{sum(up)} times; use more levels in channels_mult, or legacy_mode"
                )

    def encoder_attends(self, level: int) -> bool:
        """Whether encoder level `level` (0 is the finest) has attention."""
        return self.resolution // self.patch_size // 2**level in self.attn_resolutions

    def decoder_attends(self, level: int) -> bool:
        """Whether decoder level `level` (0 is the finest) has attention."""
        coarsest = self.resolution // self.patch_size // 2 ** (self.num_levels - 1)
        return coarsest * 2 ** (self.num_levels - 1 - level) in self.attn_resolutions

    def _num_steps(self) -> tuple[int, int]:
        folded = int(math.log2(self.patch_size))
        return int(math.log2(self.spatial_compression)) - folded, int(math.log2(self.temporal_compression)) - folded


CV8X8X8_720P = TokenizerConfig()
"""Cosmos-Tokenize1-CV8x8x8-720p, also Cosmos-1.0-Tokenizer-CV8x8x8."""

DV8X16X16_720P = replace(CV8X8X8_720P, spatial_compression=16, latent_channels=6)
"""Cosmos-Tokenize1-DV8x16x16-720p without its quantiser, whose levels are 8, 8, 8, 5, 5, 5."""


def from_nvidia(values: Mapping[str, Any], source: str) -> TokenizerConfig:
    """Read NVIDIA's configuration. ValueError naming `source` for a key or value that this network does not have."""
    known = {field.name for field in fields(TokenizerConfig)}
    taken: dict[str, Any] = {}
    for key, value in values.items():
        name = "latent_channels" if key == "embedding_dim" else key
        if key == "latent_channels" and "embedding_dim" in values:
            continue  # A discrete tokenizer has no use for it.
        if key in _FIXED and value != _FIXED[key]:
            raise ValueError(f"{source}: {key} must be {_FIXED[key]!r}, got {value!r}")
        if name in known:
            taken[name] = tuple(value) if isinstance(value, list) else value
        elif key not in _FIXED and key not in _WITHOUT_EFFECT:
            raise ValueError(f"{source}: unknown key {key!r} in the tokenizer's configuration; {suggest(key, known)}")
    try:
        return TokenizerConfig(**taken)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source}: {error}") from None
