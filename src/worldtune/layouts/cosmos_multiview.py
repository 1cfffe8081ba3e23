"""Layout "cosmos-multiview": videos/CAMERA/*.mp4 with metas/CAMERA/*.txt; the same stem is the same moment.

As Cosmos post-training has it for clips of several synchronous cameras.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from worldtune.dataset import Episode, Source
from worldtune.dataset.ego import ego_features, require_ego
from worldtune.dataset.entries import caption, refuse_rate, warn_some
from worldtune.dataset.video_files import fitted
from worldtune.video.footage import common_size_px, steady_frames
from worldtune.video.read import VideoInfo, frame_times_s, probe


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """Episodes in the order of stems; the camera that looks straight ahead first, then by name.

    The dataset gets the lowest frame rate among the videos; all videos of a stem end with the shortest of them.
    ValueError naming the camera, the video or the caption that is missing or cannot be used.
    """
    refuse_rate(fps_hz, "the video files")
    root = source / "videos"
    views = sorted((path.name for path in root.iterdir() if path.is_dir()), key=_ahead) if root.is_dir() else []
    stems = sorted({path.stem for view in views for path in (root / view).glob("*.mp4")})
    if not stems:
        raise ValueError(f"{root}: no mp4 files; the layout is videos/CAMERA/*.mp4, metas/CAMERA/*.txt")
    infos: dict[Path, VideoInfo] = {}
    for stem in stems:
        for view in views:
            path = root / view / f"{stem}.mp4"
            if not path.is_file():
                raise ValueError(f"{path}: no such video; the other cameras have {stem}.mp4")
            infos[path] = probe(path)
    rate_hz = min(_rate_hz(info) for info in infos.values())
    faster = [path for path, info in infos.items() if abs(_rate_hz(info) / rate_hz - 1) > 2e-3]
    warn_some(faster, len(infos), f"videos are faster than the slowest and are resampled to its {rate_hz:g} Hz")
    texts = {stem: _texts(source, stem, views, allow_missing_captions) for stem in stems}
    require_ego(source, stems)
    return Source(episodes=_episodes(source, views, texts, infos, rate_hz), num_episodes=len(stems), fps_hz=rate_hz)


def _ahead(view: str) -> tuple[bool, str]:
    words = view.lower().replace("-", "_").split("_")
    return not ("front" in words and not {"left", "right"} & set(words)), view


def _rate_hz(info: VideoInfo) -> float:
    return info.fps_hz if info.is_constant_rate else float(max(1, round(info.fps_hz)))


def _texts(source: Path, stem: str, views: list[str], allow_missing: bool) -> tuple[str, ...]:
    metas = source / "metas"
    return tuple(
        caption([metas / view / f"{stem}.txt", metas / f"{stem}.txt"], f"videos/{view}/{stem}.mp4", allow_missing)
        for view in views
    )


def _episodes(
    source: Path, views: list[str], texts: dict[str, tuple[str, ...]], infos: dict[Path, VideoInfo], rate_hz: float
) -> Iterator[Episode]:
    root = source / "videos"
    sizes_px = {
        view: common_size_px(
            (info.height_px, info.width_px) for path, info in infos.items() if path.parent.name == view
        )
        for view in views
    }
    with TemporaryDirectory() as scratch:
        for stem, captions in texts.items():
            paths = {view: root / view / f"{stem}.mp4" for view in views}
            times_s = {view: frame_times_s(path) for view, path in paths.items()}
            shown_s = {view: values[steady_frames(values, rate_hz)] for view, values in times_s.items()}
            length = min(len(values) for values in shown_s.values())
            videos = {
                view: fitted(
                    path,
                    infos[path],
                    Path(scratch) / f"{view}.mp4",
                    fps_hz=rate_hz,
                    size_px=sizes_px[view],
                    times_s=shown_s[view][:length],
                )
                for view, path in paths.items()
            }
            lead_s = shown_s[views[0]][:length]
            features = ego_features(source, stem, lead_s - lead_s[0])
            yield Episode(name=stem, videos=videos, fps_hz=rate_hz, texts=captions, features=features)
