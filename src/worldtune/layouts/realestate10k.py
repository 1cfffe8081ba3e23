"""Layout "realestate10k": a text file of poses per clip, with its frames as images or in a video.

Shape legend: T frames.
"""

from pathlib import Path

import numpy as np

from worldtune.contract.poses import inverse, rigid
from worldtune.dataset import Source
from worldtune.dataset.entries import caption, lines, numbers, refuse_rate, splits_of
from worldtune.dataset.scenes import Scene, scene_episodes
from worldtune.video.footage import IMAGE_SUFFIXES, shared_size_px, steady_frames, typical_rate_hz
from worldtune.video.read import frame_times_s, probe
from worldtune.video.resample import nearest_frames

SPLITS = ("train", "val", "test")
_NUMBERS = 19
_LATE_FRAMES = 0.6


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """Clips in the order train, val, test, then of file names; SOURCE may hold the text files itself.

    The dataset gets the lowest frame rate among the clips. ValueError naming the file and the line.
    """
    refuse_rate(fps_hz, "the timestamps of the text files")
    found = {split: sorted((source / split).glob("*.txt")) for split in SPLITS}
    if not any(found.values()):
        found = {"": sorted(path for path in source.glob("*.txt") if path.name != "caption.txt")}
    if not any(found.values()):
        raise ValueError(f"{source}: no text files in it or in train, val or test; the layout is SPLIT/CLIP.txt")
    tables = {path: _table(path) for paths in found.values() for path in paths}
    rate_hz = min(typical_rate_hz(times_s) for _, times_s, _ in tables.values())
    scenes = [
        _scene(source, path, split, tables[path], rate_hz, allow_missing_captions)
        for split, paths in found.items()
        for path in paths
    ]
    splits = None if "" in found else splits_of({split: len(paths) for split, paths in found.items()})
    return Source(episodes=scene_episodes(scenes, rate_hz), num_episodes=len(scenes), fps_hz=rate_hz, splits=splits)


def _table(path: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """(name of the video, times in s [T], rows [T,19]) of a text file."""
    first, *rest = lines(path) or [""]
    rows = [numbers(f"{path}: line {number}", line.split(), (_NUMBERS,)) for number, line in enumerate(rest, 2) if line]
    if len(rows) < 2:
        raise ValueError(f"{path}: has {len(rows)} frames, wanted 2 or more lines after that of the address")
    values = np.stack(rows)
    times_s = values[:, 0] * 1e-6
    if (np.diff(times_s) <= 0).any():
        raise ValueError(f"{path}: line {int(np.argmax(np.diff(times_s) <= 0)) + 3}: the timestamp does not ascend")
    return first.strip().split("v=")[-1].split("&")[0].rsplit("/", 1)[-1], times_s, values


def _scene(
    source: Path,
    path: Path,
    split: str,
    table: tuple[str, np.ndarray, np.ndarray],
    rate_hz: float,
    allow_missing_captions: bool,
) -> Scene:
    address, times_s, values = table
    kept = steady_frames(times_s, rate_hz)
    folder = _first([source / "frames" / split / path.stem, source / "frames" / path.stem, path.with_suffix("")])
    images: tuple[Path, ...] = ()
    video: Path | None = None
    video_s: np.ndarray | None = None
    if folder is not None:
        images = tuple(_image(folder, int(values[frame, 0]), path) for frame in kept)
        size_px = shared_size_px(images)
    else:
        video, video_s = _video(source, path, split, address, times_s)
        video_s = video_s[kept]
        info = probe(video)
        size_px = (info.height_px, info.width_px)
    camera_from_world = values[kept, 7:].reshape(-1, 3, 4)
    height_px, width_px = size_px
    name = f"{split}/{path.name}" if split else path.name
    return Scene(
        name=name,
        text=caption([source / "metas" / f"{path.stem}.txt"], name, allow_missing_captions),
        images=images,
        video=video,
        times_s=video_s,
        size_px=size_px,
        lens_T4=values[kept, 1:5] * np.array([width_px, height_px, width_px, height_px]),
        world_from_camera_T44=inverse(rigid(camera_from_world[:, :, :3], camera_from_world[:, :, 3])),
    )


def _first(candidates: list[Path]) -> Path | None:
    return next((path for path in candidates if path.exists()), None)


def _image(folder: Path, timestamp_us: int, path: Path) -> Path:
    found = _first([folder / f"{timestamp_us}{suffix}" for suffix in IMAGE_SUFFIXES])
    if found is None:
        raise ValueError(f"{folder}: no image {timestamp_us}.png or .jpg, a frame of {path.name}")
    return found


def _video(source: Path, path: Path, split: str, address: str, times_s: np.ndarray) -> tuple[Path, np.ndarray]:
    """The video of a clip and the times of its frames in there: cut to the clip, or the whole one of the address."""
    cut = [source / "videos" / split / f"{path.stem}.mp4", source / "videos" / f"{path.stem}.mp4"]
    whole = [source / "videos" / split / f"{address}.mp4", source / "videos" / f"{address}.mp4"]
    video = _first([*cut, *whole])
    if video is None:
        raise ValueError(f"{path}: no frames: neither {source / 'frames' / path.stem} nor {cut[1]} nor {whole[1]}")
    shown_s = frame_times_s(video)
    if video in cut and len(shown_s) == len(times_s):
        return video, shown_s
    wanted_s = times_s - times_s[0] + shown_s[0] if video in cut else times_s
    nearest = nearest_frames(shown_s, wanted_s)
    late_s = np.abs(shown_s[nearest] - wanted_s)
    if late_s.max() > _LATE_FRAMES * float(np.median(np.diff(shown_s))):
        worst = int(np.argmax(late_s))
        raise ValueError(f"{video}: no frame at {wanted_s[worst]:.3f} s, which {path.name} names in line {worst + 2}")
    return video, shown_s[nearest]
