"""Synthetic recordings for the tests of this folder.

Every frame tells its own number: its brightness is 16 + 6 * number, so that decoded frames can be recognised.
Shape legend: V views, T frames, H W rows and columns, C channels.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from worldtune.dataset import Episode, write_dataset
from worldtune.video.write import write_video


def numbered_video(num_frames: int, height_px: int = 32, width_px: int = 48, first: int = 0) -> np.ndarray:
    """uint8 [T,H,W,3]; at most 39 different frames."""
    levels_T = 16 + 6 * (first + np.arange(num_frames))
    assert levels_T.max() < 256
    shape = (num_frames, height_px, width_px, 3)
    return np.broadcast_to(levels_T[:, None, None, None], shape).astype(np.uint8)


def numbers_of(video_THWC: np.ndarray) -> list[int]:
    """The numbers that `numbered_video` wrote into frames."""
    return [round((float(frame.mean()) - 16) / 6) for frame in video_THWC]


def episode(
    num_frames: int = 12,
    views: tuple[str, ...] = ("front",),
    fps_hz: float = 10.0,
    text: str | tuple[str, ...] = "push the red cube",
    first: int = 0,
    **features: np.ndarray,
) -> Episode:
    """A recording with actions, and with the given features beside them."""
    actions = np.arange(num_frames * 3, dtype=np.float32).reshape(num_frames, 3) + first
    return Episode(
        name=f"recording from {first}",
        videos={view: numbered_video(num_frames, first=first + 5 * v) for v, view in enumerate(views)},
        fps_hz=fps_hz,
        texts=text,
        features={"action": actions, **features},
    )


def dataset(folder: Path, lengths: tuple[int, ...] = (12, 9, 20), fps_hz: float = 10.0) -> Path:
    """A small dataset of one camera."""
    episodes = (episode(length, fps_hz=fps_hz, first=i) for i, length in enumerate(lengths))
    return write_dataset(folder, episodes, fps_hz=fps_hz)


def clips_folder(folder: Path, num_videos: int = 2, num_frames: int = 12) -> Path:
    """The layout "videos": videos/*.mp4 with metas/*.txt."""
    for index in range(num_videos):
        write_video(folder / f"videos/clip_{index}.mp4", numbered_video(num_frames, first=index), 10.0)
        (folder / "metas").mkdir(exist_ok=True)
        (folder / f"metas/clip_{index}.txt").write_text(f"caption {index}\n")
    return folder


def write_variable_rate(path: Path, video_THWC: np.ndarray, times_ms: list[int]) -> None:
    """An h264 file whose frames lie at the given times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        _, stream.height, stream.width, _ = video_THWC.shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels_HWC, time_ms in zip(video_THWC, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HWC), format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def truncate(path: Path, share: float = 0.5) -> None:
    """Cut the end of a file off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files of a folder with their bytes, to show that nothing was damaged."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
