"""Layout "surround-tiles": videos that show one camera after another, an equal number of frames each.

The form in which Cosmos stores and generates surround views.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from worldtune.dataset import Episode, Source
from worldtune.dataset.ego import ego_features, require_ego
from worldtune.dataset.entries import caption, lines, require_rate
from worldtune.video.footage import common_size_px
from worldtune.video.read import VideoInfo, frame_times_s, probe
from worldtune.video.write import transcode

VIEWS = ("front", "left", "right", "rear", "rear_left", "rear_right")
"""The order of the released Cosmos multi-view models."""


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """Episodes in the order of file names. SOURCE/views.txt may name other cameras, one per line, in order.

    fps_hz: the rate of each camera when the video tells it wrongly. ValueError naming the video or the caption.
    """
    paths = sorted(path for path in [*source.glob("*.mp4"), *source.glob("videos/*.mp4")])
    if not paths:
        raise ValueError(f"{source}: no mp4 files; the layout is SOURCE/*.mp4, each with the views one after another")
    views = _views(source)
    infos = [_probed(path, views) for path in paths]
    rate_hz = infos[0].fps_hz if fps_hz is None else require_rate(fps_hz, source)
    for path, info in zip(paths, infos, strict=True):
        if fps_hz is None and abs(info.fps_hz / rate_hz - 1) > 1e-3:
            got = f"{info.fps_hz:g} Hz, {paths[0].name} has {rate_hz:g} Hz"
            raise ValueError(f"{path}: has {got}; give the true rate with --fps-hz")
    texts = [_texts(source, path, views, allow_missing_captions) for path in paths]
    size_px = common_size_px((info.height_px, info.width_px) for info in infos)
    require_ego(source, [path.stem for path in paths])
    return Source(
        episodes=_episodes(source, paths, texts, views, rate_hz, size_px), num_episodes=len(paths), fps_hz=rate_hz
    )


def _views(source: Path) -> tuple[str, ...]:
    path = source / "views.txt"
    if not path.exists():
        return VIEWS
    views = tuple(line.strip() for line in lines(path) if line.strip())
    if len(views) < 2 or len(set(views)) < len(views):
        raise ValueError(f"{path}: names {', '.join(views) or 'no cameras'}; wanted two or more names, all different")
    return views


def _probed(path: Path, views: tuple[str, ...]) -> VideoInfo:
    info = probe(path)
    if info.num_frames % len(views):
        rule = f"wanted a multiple of {len(views)} ({', '.join(views)}); name other cameras in views.txt"
        raise ValueError(f"{path}: has {info.num_frames} frames, {rule}")
    return info


def _texts(source: Path, path: Path, views: tuple[str, ...], allow_missing: bool) -> tuple[str, ...]:
    shared = source / "metas" / f"{path.stem}.txt"
    return tuple(
        caption([source / "metas" / view / f"{path.stem}.txt", shared], f"{path.name} ({view})", allow_missing)
        for view in views
    )


def _episodes(
    source: Path,
    paths: list[Path],
    texts: list[tuple[str, ...]],
    views: tuple[str, ...],
    fps_hz: float,
    size_px: tuple[int, int],
) -> Iterator[Episode]:
    with TemporaryDirectory() as scratch:
        for path, captions in zip(paths, texts, strict=True):
            times_s = frame_times_s(path)
            per_view = len(times_s) // len(views)
            parts = {view: Path(scratch) / f"view_{position}.mp4" for position, view in enumerate(views)}
            for position, part in enumerate(parts.values()):
                part_s = times_s[position * per_view : (position + 1) * per_view]
                transcode(path, part, part_s, fps_hz=fps_hz, height_px=size_px[0], width_px=size_px[1])
            features = ego_features(source, path.stem, np.arange(per_view) / fps_hz)
            yield Episode(name=path.name, videos=parts, fps_hz=fps_hz, texts=captions, features=features)
