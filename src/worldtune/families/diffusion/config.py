"""Shape of the network: everything that tells one model of the line from another."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from worldtune.contract.errors import suggest

Described = TypeVar("Described")
POSITIONS = ("none", "learnable", "sincos")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Hyper-parameters of GeneralDIT. Sizes "in latent" count cells of the codec's grid."""

    width: int
    """Channels of the residual stream, D."""
    num_blocks: int
    """Transformer blocks."""
    num_heads: int
    """Attention heads; the head dimension is width / num_heads."""
    latent_channels: int = 16
    """Channels of the codec's latent, in and out."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLP as a multiple of width."""
    text_channels: int = 1024
    """Width of the text rows."""
    adaln_rank: int = 256
    """Inner width of each AdaLN-LoRA projection."""
    patch_spatial: int = 2
    """Latent cells along the side of one patch."""
    max_height: int = 240
    """Tallest latent grid."""
    max_width: int = 240
    """Widest latent grid."""
    max_frames: int = 128
    """Most latent frames of one view."""
    rope_ratio_h: float = 1.0
    """Stretch of the rotary base along rows."""
    rope_ratio_w: float = 1.0
    """Stretch of the rotary base along columns."""
    rope_ratio_t: float = 1.0
    """Stretch of the rotary base along time."""
    base_fps_hz: float = 24.0
    """Frame rate at which one latent frame is one step of temporal position."""
    positions: str = "learnable"
    """Extra absolute position embedding added in every block: "none", "learnable" or "sincos"."""
    condition_mask: bool = False
    """True when an input channel tells observed frames (1) from generated ones (0)."""
    padding_mask: bool = True
    """True when an input channel tells padded cells (1) from picture (0)."""
    num_views: int = 0
    """Cameras with a learned identity; 0 when the network has no view channels."""
    view_channels: int = 0
    """Input channels of a view's identity."""
    frame_repeat: bool = False
    """True when the view channels also carry how often a camera's frames were repeated."""
    trajectory_numbers: int = 0
    """Length of the flattened ego trajectory; 0 when the network has no trajectory channels."""
    trajectory_channels: int = 0
    """Input channels of the trajectory."""
    num_tokens: int = 0
    """Ids of the discrete codec whose tokens the network turns into latents; 0 when it has no token channels."""
    token_channels: int = 0
    """Input channels of the embedded tokens."""

    def __post_init__(self) -> None:
        may_be_zero = {f"{kind}_channels" for kind in ("view", "trajectory", "token")}
        may_be_zero |= {"num_views", "trajectory_numbers", "num_tokens"}
        for name, value in vars(self).items():
            if (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and name not in may_be_zero
                and value <= 0
            ):
                raise ValueError(f"{name} must be positive, got {value}")
        if self.width % self.num_heads or self.head_dim % 2:
            raise ValueError(
                f"width {self.width} must split into {self.num_heads} heads of even dimension, got {self.head_dim}"
            )
        if self.positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, got {self.positions!r}")
        if self.max_height % self.patch_spatial or self.max_width % self.patch_spatial:
            raise ValueError(
                f"the largest grid {self.max_height}x{self.max_width} must divide by patch_spatial {self.patch_spatial}"
            )
        if bool(self.num_views) != bool(self.view_channels):
            raise ValueError(f"num_views {self.num_views} and view_channels {self.view_channels} need each other")
        if self.frame_repeat and not self.num_views:
            raise ValueError("frame_repeat needs view channels")
        if bool(self.trajectory_numbers) != bool(self.trajectory_channels):
            raise ValueError(
                f"trajectory_numbers {self.trajectory_numbers} and trajectory_channels {self.trajectory_channels} "
                "need each other"
            )
        if bool(self.num_tokens) != bool(self.token_channels):
            raise ValueError(f"num_tokens {self.num_tokens} and token_channels {self.token_channels} need each other")

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.width // self.num_heads

    @property
    def input_channels(self) -> int:
        """Channels that the patch embedding sees, without those of a dense control."""
        masks = int(self.condition_mask) + int(self.padding_mask)
        return self.latent_channels + masks + self.view_channels + self.trajectory_channels + self.token_channels


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
