"""Window: how clips are cut from episodes."""

from dataclasses import dataclass

from worldtune.video.resample import RESIZE_MODES, frame_indices

_SAME_RATE_TOLERANCE = 0.002


@dataclass(frozen=True, kw_only=True)
class Window:
    """How clips are cut from episodes."""

    num_frames: int
    """Frames of a clip; 1 + r k for a codec that packs r frames into one latent frame."""
    height_px: int
    width_px: int
    fps_hz: float | None = None
    """Frame rate of a clip; None keeps the rate of the dataset."""
    stride: int | None = None
    """Frames, at the rate of clips, from the start of one clip to the start of the next.
    None: num_frames - 1, so that neighbours share one frame and no transition is lost."""
    resize: str = "crop"
    """"crop" keeps the aspect ratio and cuts the middle; "stretch" keeps the whole image."""
    cameras: tuple[str, ...] = ()
    """Those that clips show, in this order. None named: all of the dataset."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))  # a file has a list
        for name in ("num_frames", "height_px", "width_px", "stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"window: {name} must be at least 1, got {value}")
        if self.fps_hz is not None and self.fps_hz <= 0:
            raise ValueError(f"window: fps_hz must be positive, got {self.fps_hz}")
        if self.resize not in RESIZE_MODES:
            raise ValueError(f"window: resize is {self.resize!r}, wanted one of {', '.join(RESIZE_MODES)}")

    def rate_hz(self, source_fps_hz: float) -> float:
        """Frame rate of clips from a source. ValueError when the source is slower than the window."""
        if self.fps_hz is None or abs(self.fps_hz / source_fps_hz - 1) < _SAME_RATE_TOLERANCE:
            return source_fps_hz
        if self.fps_hz > source_fps_hz:
            raise ValueError(
                f"window: fps_hz is {self.fps_hz:g} but the dataset has {source_fps_hz:g}: frames would repeat; "
                f"choose fps_hz {source_fps_hz:g} or less"
            )
        return self.fps_hz

    def source_frames(self, start_frame: int, source_fps_hz: float) -> list[int]:
        """Frames of the source that a clip from start_frame shows: the nearest in time to each of its frames."""
        return frame_indices(start_frame, self.num_frames, source_fps_hz, self.rate_hz(source_fps_hz)).tolist()

    def starts(self, length: int, source_fps_hz: float) -> list[int]:
        """First source frames of all clips of an episode with `length` frames."""
        step = (self.stride or max(1, self.num_frames - 1)) * source_fps_hz / self.rate_hz(source_fps_hz)
        span = self.source_frames(0, source_fps_hz)[-1] + 1
        starts = (int(k * step + 0.5) for k in range(int(length / step) + 1))
        return [start for start in starts if start + span <= length]


@dataclass(frozen=True, kw_only=True)
class WindowRef:
    """Where one clip lies."""

    episode: int
    start_frame: int
    """In frames of the dataset."""
    split: str


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A clip or a whole episode that is left out."""

    episode: int
    reason: str
