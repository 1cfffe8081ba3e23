"""Time the decoding of one training window: by seek, as WorldTune reads, against decoding the whole clip.

python -m benchmarks.decode [--video FILE] [--frames 33] [--rounds 5] [--out FILE]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np

from benchmarks.machine import describe
from worldtune.contract.files import write_json
from worldtune.video.read import frame_times_s, read_frames

NUM_FRAMES, FPS_HZ, WIDTH_PX, HEIGHT_PX, KEYFRAME_INTERVAL = 240, 30, 640, 360, 30


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="default: a synthetic clip, 240 frames of 640x360, h264")
    parser.add_argument("--frames", type=int, default=33, help="frames of a window")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/benchmark_decode.json"))
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = words.video or write_synthetic(Path(folder) / "clip.mp4")
        result = measure(path, words.frames, words.rounds)
    write_json(words.out, {"machine": describe(), "video": str(words.video or "synthetic"), **result})
    print(
        f"window by seek {result['window_min_s'] * 1e3:.0f} ms, whole clip {result['whole_min_s'] * 1e3:.0f} ms: ",
        end="",
    )
    print(f"{result['speedup']:.1f} times as fast; written to {words.out}")


def measure(path: Path, num_frames: int, rounds: int) -> dict[str, float | int]:
    """Both ways in turn, windows spread over the clip. ValueError when they disagree or the clip is too short."""
    times_s = frame_times_s(path)
    if len(times_s) <= num_frames:
        raise ValueError(f"{path}: {len(times_s)} frames are too few for windows of {num_frames}")
    window: list[float] = []
    whole: list[float] = []
    for first in np.linspace(0, len(times_s) - num_frames, rounds).astype(int):
        chosen = slice(first, first + num_frames)
        by_seek, seconds = _timed(partial(read_frames, path, times_s[chosen], tolerance_s=1e-6))
        window.append(seconds)
        by_whole, seconds = _timed(partial(decode_whole, path))
        whole.append(seconds)
        if not np.array_equal(by_seek, by_whole[chosen]):
            raise ValueError(f"{path}: the window at frame {first} differs between the two ways of reading")
    return {
        "num_frames": len(times_s),
        "window_frames": num_frames,
        "window_min_s": min(window),
        "window_median_s": statistics.median(window),
        "whole_min_s": min(whole),
        "whole_median_s": statistics.median(whole),
        "speedup": statistics.median(whole) / statistics.median(window),
    }


def decode_whole(path: Path) -> np.ndarray:
    """Every frame, uint8 [T,H,W,3]: what loaders do that decode first and cut afterwards."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_synthetic(path: Path, *, num_frames: int = NUM_FRAMES, width_px: int = WIDTH_PX) -> Path:
    """A moving pattern with grain, h264."""
    height_px = width_px * HEIGHT_PX // WIDTH_PX
    noise = np.random.default_rng(0).integers(0, 40, (height_px, width_px, 3))
    rows, columns = np.mgrid[:height_px, :width_px]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS_HZ, options={"preset": "veryfast", "g": str(KEYFRAME_INTERVAL)}
        )
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for number in range(num_frames):
            waves = [np.sin((rows + k * columns + (3 + k) * number) / 17) for k in range(3)]
            picture = 100 + 60 * np.stack(waves, -1) + np.roll(noise, 2 * number, axis=1)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _timed(read: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    began = time.perf_counter()
    return read(), time.perf_counter() - began


if __name__ == "__main__":
    main()
