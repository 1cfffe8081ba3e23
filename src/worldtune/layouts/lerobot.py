"""Layout "lerobot": a LeRobot dataset of version 2.0 or 2.1, one parquet and one mp4 file per episode and camera.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from worldtune.contract.files import read_json
from worldtune.dataset import Episode, Source, schema
from worldtune.dataset.entries import entry, lines, not_too_long, refuse_rate, warn_some
from worldtune.dataset.meta import view_name
from worldtune.dataset.schema import CAMERA_PREFIX, Signal
from worldtune.dataset.video_files import can_be_copied
from worldtune.video.read import decode_image, frame_times_s, probe
from worldtune.video.write import transcode

_NUMBER = (int, float)


@dataclass(frozen=True)
class _Info:
    path: Path
    fps_hz: float
    chunks_size: int
    data_path: str
    video_path: str
    features: dict[str, dict[str, Any]]

    def keys(self, *dtypes: str) -> list[str]:
        """Features of these types, in the order of the file."""
        return [key for key, value in self.features.items() if value.get("dtype") in dtypes]


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """Episodes in the order of their index, with the cameras and all numeric features under their names.

    ValueError naming the file and the entry; also for version 3, which is the native form already.
    """
    info = _info(source)
    refuse_rate(fps_hz, str(info.path))
    episodes = sorted(
        (entry(path, row, "episode_index", int, where), entry(path, row, "length", int, where), where, row)
        for path, where, row in _rows(source / "meta/episodes.jsonl")
    )
    if not episodes:
        raise ValueError(f"{source / 'meta/episodes.jsonl'}: no episodes")
    texts = {index: _text(source, row, where, allow_missing_captions) for index, _, where, row in episodes}
    several = [f"episode {index}" for index, _, _, row in episodes if len(row.get("tasks") or []) > 1]
    warn_some(several, len(episodes), "episodes have several tasks; the first is kept")
    others = [key for key in info.features if _is_left_out(info.features[key])]
    warn_some(others, len(info.features), "features are texts or depth images, which are dropped")
    lengths = {index: length for index, length, _, _ in episodes}
    splits = read_json(info.path).get("splits") or None
    is_gapless = list(lengths) == list(range(len(lengths)))
    return Source(
        episodes=_episodes(source, info, lengths, texts),
        num_episodes=len(lengths),
        fps_hz=info.fps_hz,
        splits=splits if is_gapless else None,
    )


def _info(source: Path) -> _Info:
    path = source / schema.INFO
    value = read_json(path)
    version = entry(path, value, "codebase_version", str)
    if version.startswith("v3."):
        raise ValueError(f"{path}: codebase_version is {version}, the native form: use {source} as it is")
    if not version.startswith("v2."):
        raise ValueError(f"{path}: codebase_version is {version}, wanted v2.0 or v2.1")
    features = entry(path, value, "features", dict)
    info = _Info(
        path,
        float(entry(path, value, "fps", _NUMBER)),
        entry(path, value, "chunks_size", int),
        entry(path, value, "data_path", str),
        value.get("video_path") or "",
        features,
    )
    if not info.keys("video", "image"):
        raise ValueError(f"{path}: features has no camera (dtype video or image)")
    if info.fps_hz <= 0 or info.chunks_size < 1:
        raise ValueError(f"{path}: fps and chunks_size must be positive, got {info.fps_hz:g} and {info.chunks_size}")
    return info


def _is_left_out(feature: dict[str, Any]) -> bool:
    return _is_depth(feature) or feature.get("dtype") not in ("video", "image", *schema.DTYPES)


def _is_depth(feature: dict[str, Any]) -> bool:
    details = feature.get("info") or {}
    return bool(details.get("is_depth_map") or details.get("video.is_depth_map"))


def _rows(path: Path) -> Iterator[tuple[Path, str, Any]]:
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            try:
                yield path, f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}: line {number} is not valid JSON ({error})") from None


def _text(source: Path, row: Any, where: str, allow_missing: bool) -> str:
    path = source / "meta/episodes.jsonl"
    tasks = entry(path, row, "tasks", list, where)
    text = str(tasks[0]).strip() if tasks else ""
    if not text and not allow_missing:
        raise ValueError(
            f"{path}: {where}: tasks is {tasks!r}, wanted an instruction; write one, or give --allow-missing-captions"
        )
    return not_too_long(text, f"{path}: {where}: tasks")


def _episodes(source: Path, info: _Info, lengths: dict[int, int], texts: dict[int, str]) -> Iterator[Episode]:
    cameras = {view_name(key): key for key in info.keys("video", "image") if not _is_depth(info.features[key])}
    signals = {
        key: Signal(dtype=value["dtype"], shape=tuple(entry(info.path, value, "shape", list, key)))
        for key, value in info.features.items()
        if value.get("dtype") in schema.DTYPES and key not in schema.INDEX_DTYPES
    }
    with TemporaryDirectory() as scratch:
        for index, length in lengths.items():
            places = {"episode_chunk": index // info.chunks_size, "episode_index": index}
            path = source / info.data_path.format(**places)
            table = schema.read_parquet(path)
            if table.num_rows != length:
                raise ValueError(f"{path}: has {table.num_rows} rows, meta/episodes.jsonl says {length}")
            videos: dict[str, np.ndarray | Path] = {}
            for view, key in cameras.items():
                if info.features[key]["dtype"] == "image":
                    videos[view] = _images(path, table, key)
                else:
                    video = source / info.video_path.format(video_key=key, **places)
                    videos[view] = _video(video, Path(scratch) / f"{view}.mp4", info.fps_hz, length)
            columns = {
                key: schema.to_numpy(_column(path, table, key), s, f"{path}: {key}") for key, s in signals.items()
            }
            yield Episode(
                name=f"episode {index}",
                videos=videos,
                fps_hz=info.fps_hz,
                texts=texts[index],
                features=_by_camera(columns, tuple(cameras)),
            )


def _column(path: Path, table: pa.Table, key: str) -> pa.ChunkedArray:
    if key not in table.schema.names:
        raise ValueError(f"{path}: no column {key!r}, which {schema.INFO} names")
    return table[key]


def _images(path: Path, table: pa.Table, key: str) -> np.ndarray:
    """Images inside a data file, uint8 [T,H,W,3]."""
    frames = []
    for frame, value in enumerate(_column(path, table, key).to_pylist()):
        if not isinstance(value, dict) or value.get("bytes") is None:
            raise ValueError(f"{path}: frame {frame}: {key} is not embedded in the file (no bytes)")
        frames.append(decode_image(value["bytes"], f"{path}: frame {frame}: {key}"))
    return np.stack(frames)


def _video(path: Path, scratch: Path, fps_hz: float, length: int) -> Path:
    """The video of an episode as h264. ValueError when its frames are not those of the data file."""
    info = probe(path)
    if info.num_frames != length:
        raise ValueError(f"{path}: has {info.num_frames} frames, meta/episodes.jsonl says {length}")
    if can_be_copied(info, fps_hz):
        return path
    size_px = info.height_px // 2 * 2, info.width_px // 2 * 2
    transcode(path, scratch, frame_times_s(path), fps_hz=fps_hz, height_px=size_px[0], width_px=size_px[1])
    return scratch


def _by_camera(columns: dict[str, np.ndarray], views: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns "camera.<name>.<view>" of all views as one feature [V,T,...]; all others as they are."""
    result = dict(columns)
    names = {column.rsplit(".", 1)[0] for column in columns if column.startswith(CAMERA_PREFIX)}
    for name in names:
        parts = [f"{name}.{view}" for view in views]
        if all(part in columns for part in parts):
            result[name] = np.stack([result.pop(part) for part in parts])
    return result
