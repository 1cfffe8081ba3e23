"""What one rendered episode holds, the same for every world."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a world is filmed."""

    look: str = "base"
    """"base" or "heldout": textures, palette, light and camera placement."""
    num_frames: int = 33
    """Frames per episode."""
    fps_hz: float = 10.0
    """Frames per second."""
    size_px: int = 64
    """Edge length of the square frames."""
    cameras: tuple[str, ...] = ("front", "left", "right")
    """Cameras of the street's rig; the other worlds have one camera."""

    def __post_init__(self) -> None:
        if self.look not in ("base", "heldout"):
            raise ValueError(f"look must be base or heldout, got {self.look!r}")
        if self.num_frames < 2 or self.size_px < 8 or self.fps_hz <= 0:
            raise ValueError(
                f"wanted num_frames >= 2, size_px >= 8 and fps_hz > 0, "
                f"got {self.num_frames}, {self.size_px}, {self.fps_hz}"
            )


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One recorded clip. V views, T frames."""

    views: tuple[str, ...]
    """Camera names, in the order of the view axis."""
    video_VTHWC: np.ndarray
    """uint8 RGB."""
    caption: str
    """What is seen."""
    instruction: str
    """What is done."""
    fps_hz: float
    """Frames per second."""
    seed: tuple[int, int]
    """(seed, episode index)."""
    features: dict[str, np.ndarray] = field(default_factory=dict)
    """Per-frame signals [T, ...], float32."""
    camera_features: dict[str, np.ndarray] = field(default_factory=dict)
    """Per-camera signals: `camera.intrinsics` [V, 4] px, `camera.world_from_camera` [V, T, 4, 4]."""


def episode_rng(world: str, look: str, seed: int, index: int) -> np.random.Generator:
    """The only source of randomness of an episode."""
    return np.random.default_rng([*world.encode(), 256, *look.encode(), 256, seed, index])
