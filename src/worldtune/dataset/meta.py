"""Reading and validating meta/ of a LeRobot v3 folder."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.contract.errors import suggest
from worldtune.contract.files import read_json
from worldtune.dataset import schema
from worldtune.dataset.schema import Signal
from worldtune.dataset.writer import split_of_episodes

_log = logging.getLogger(__name__)

_INTEGER = ("integer", pa.types.is_integer)
_NUMBER = ("number", lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind))
_TEXT = ("string", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind))
_TEXTS = ("list of strings", lambda kind: schema.depth_and_type(kind)[0] == 1)


@dataclass(frozen=True, kw_only=True)
class VideoSpan:
    """Where the frames of one camera of one episode lie."""

    path: Path
    from_s: float


@dataclass(frozen=True, kw_only=True)
class EpisodeInfo:
    """What meta/ says of one episode."""

    index: int
    length: int
    """Frames."""
    split: str
    texts: tuple[str, ...]
    """One per view."""
    num_tasks: int
    """Different tasks of its frames; with more than one, a clip has the task of its first frame."""
    facts: dict[str, Any]
    """What holds for the whole recording."""
    data_path: Path
    first_row: int
    """Row of the data file at which the episode starts."""
    videos: dict[str, VideoSpan]
    """By camera name; empty for cameras that are stored as images in the data files."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """meta/info.json."""

    fps_hz: float
    signals: dict[str, Signal]
    """Numeric columns of the data files, index columns excepted."""
    video_keys: dict[str, str]
    """Camera name -> feature, for cameras stored as video."""
    image_keys: dict[str, str]
    """Camera name -> feature, for cameras stored as images."""
    sizes_px: dict[str, tuple[int, int]]
    """Camera name -> (height, width)."""
    splits: dict[str, str]
    data_path: str
    video_path: str
    total_episodes: int
    total_frames: int

    @property
    def views(self) -> tuple[str, ...]:
        """All cameras, in the order of info.json."""
        return tuple(self.sizes_px)

    def of_cameras(self, cameras: Sequence[str], path: Path) -> "Info":
        """With these cameras only, in this order, and what is recorded of them. ValueError for an unknown one."""
        for camera in cameras:
            if camera not in self.views:
                raise ValueError(f"{path}: has no camera {camera!r}: {suggest(camera, self.views)}")
        if len(set(cameras)) < len(cameras):
            raise ValueError(f"{path}: cameras must differ, got {', '.join(cameras)}")

        def kept(by_camera: Mapping[str, Any]) -> dict[str, Any]:
            return {camera: by_camera[camera] for camera in cameras if camera in by_camera}

        return replace(
            self,
            signals={name: signal for name, signal in self.signals.items() if self.camera_of(name) in {None, *cameras}},
            video_keys=kept(self.video_keys),
            image_keys=kept(self.image_keys),
            sizes_px=kept(self.sizes_px),
        )

    def camera_of(self, column: str) -> str | None:
        """The camera that a column "camera.<feature>.<camera>" tells of; None for other columns."""
        if not column.startswith(schema.CAMERA_PREFIX):
            return None
        return next((view for view in sorted(self.views, key=len, reverse=True) if column.endswith(f".{view}")), None)


def view_name(key: str) -> str:
    """Camera name of a video or image feature: "observation.images.front" is "front"."""
    for prefix in (schema.IMAGE_PREFIX, "observation."):
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def read_info(folder: Path) -> Info:
    """ValueError naming the file, the entry and what was wanted."""
    path = folder / schema.INFO
    if not path.is_file():
        raise ValueError(f"{folder}: not a LeRobot v3 dataset (no {schema.INFO}); make one with `worldtune convert`")
    value = read_json(path)
    version = str(_entry(path, value, "codebase_version", str))
    if not version.startswith("v3."):
        older = f"make one with `worldtune convert {folder} NEW --layout lerobot`"
        advice = older if version.startswith("v2.") else "convert the dataset with LeRobot first"
        raise ValueError(f"{path}: codebase_version is {version}, wanted v3.x; {advice}")
    features = _entry(path, value, "features", dict)
    videos = {view_name(key): key for key, entry in features.items() if _dtype(path, key, entry) == "video"}
    images = {view_name(key): key for key, entry in features.items() if _dtype(path, key, entry) == "image"}
    videos = {view: key for view, key in videos.items() if not _is_depth(features[key])}
    if not videos and not images:
        raise ValueError(f"{path}: features has no camera (dtype video or image)")
    fps_hz = float(_entry(path, value, "fps", (int, float)))
    if fps_hz <= 0:
        raise ValueError(f"{path}: fps is {fps_hz}, wanted a positive number")
    return Info(
        fps_hz=fps_hz,
        signals=_signals(path, features),
        video_keys=videos,
        image_keys=images,
        sizes_px={view: _size_px(path, key, features[key]) for view, key in {**videos, **images}.items()},
        splits=dict(value["splits"]) if value.get("splits") else {},
        data_path=_entry(path, value, "data_path", str),
        video_path=_entry(path, value, "video_path", str) if videos else "",
        total_episodes=_entry(path, value, "total_episodes", int),
        total_frames=_entry(path, value, "total_frames", int),
    )


def _entry(path: Path, value: Any, name: str, kind: Any) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise ValueError(f"{path}: no entry {name!r}")
    if not isinstance(value[name], kind):
        raise ValueError(f"{path}: {name} is {value[name]!r}, wanted {getattr(kind, '__name__', 'a number')}")
    return value[name]


def _dtype(path: Path, key: str, entry: Any) -> str:
    if not isinstance(entry, dict) or "dtype" not in entry or "shape" not in entry:
        raise ValueError(f"{path}: feature {key!r} must have dtype and shape, got {entry!r}")
    return str(entry["dtype"])


def _is_depth(entry: dict[str, Any]) -> bool:
    details = entry.get("info") or {}
    return bool(details.get("is_depth_map") or details.get("video.is_depth_map"))


def _signals(path: Path, features: dict[str, Any]) -> dict[str, Signal]:
    """Numeric features; text features of other tools are left alone."""
    return {
        key: Signal(dtype=entry["dtype"], shape=tuple(entry["shape"]))
        for key, entry in features.items()
        if _dtype(path, key, entry) in schema.DTYPES and key not in schema.INDEX_DTYPES
    }


def _size_px(path: Path, key: str, entry: dict[str, Any]) -> tuple[int, int]:
    """(height, width); LeRobot writes images channels last, some tools channels first."""
    shape = entry["shape"]
    if len(shape) != 3 or 3 not in (shape[0], shape[2]):
        raise ValueError(f"{path}: feature {key!r} has shape {shape}, wanted [height, width, 3]")
    return (shape[0], shape[1]) if shape[2] == 3 else (shape[1], shape[2])


def read_episodes(folder: Path, info: Info, tasks: list[str]) -> list[EpisodeInfo]:
    """All episodes in order. ValueError naming file, column and what was wanted."""
    rows = sorted(_episode_rows(folder, info), key=lambda row: row["episode_index"])
    if [row["episode_index"] for row in rows] != list(range(info.total_episodes)):
        raise ValueError(
            f"{folder / 'meta/episodes'}: {len(rows)} episodes are listed, {schema.INFO} says {info.total_episodes}"
        )
    splits = _splits(folder, info)
    first_rows: dict[str, int] = {}
    episodes = []
    for row in rows:
        relative = info.data_path.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        first_row = first_rows.setdefault(relative, 0)
        first_rows[relative] += row["length"]
        episodes.append(_episode(folder, info, row, relative, first_row, splits, tasks))
    return episodes


def _episode(
    folder: Path, info: Info, row: dict[str, Any], data: str, first_row: int, splits: dict[int, str], tasks: list[str]
) -> EpisodeInfo:
    index, texts = row["episode_index"], row["tasks"] or [""]
    path = folder / schema.EPISODES
    if row["length"] < 1 or row["dataset_to_index"] - row["dataset_from_index"] != row["length"]:
        raise ValueError(f"{path}: episode {index} has length {row['length']}, its rows do not agree")
    if unknown := [text for text in row["tasks"] if text not in tasks]:
        raise ValueError(
            f"{path}: episode {index} has the task {unknown[0][:60]!r}, which {schema.TASKS} does not list"
        )
    captions = [row.get(f"{schema.CAPTIONS}{view}") for view in info.views]
    return EpisodeInfo(
        index=index,
        length=row["length"],
        split=splits.get(index, "unused"),
        texts=tuple(texts[0] if text is None else text for text in captions),
        num_tasks=len(row["tasks"] or [""]),
        facts={k.removeprefix(schema.FACTS): v for k, v in row.items() if k.startswith(schema.FACTS)},
        data_path=folder / data,
        first_row=first_row,
        videos={view: _span(folder, info, row, key) for view, key in info.video_keys.items()},
    )


def _span(folder: Path, info: Info, row: dict[str, Any], key: str) -> VideoSpan:
    relative = info.video_path.format(
        video_key=key, chunk_index=row[f"videos/{key}/chunk_index"], file_index=row[f"videos/{key}/file_index"]
    )
    return VideoSpan(path=folder / relative, from_s=row[f"videos/{key}/from_timestamp"])


def _splits(folder: Path, info: Info) -> dict[int, str]:
    """Split of every episode. A dataset without one for validation lends the last tenth of its episodes."""
    path = folder / schema.INFO
    if set(info.splits) - {"train"}:
        return split_of_episodes(info.splits, info.total_episodes, str(path))
    splits = split_of_episodes(info.splits or {"train": f"0:{info.total_episodes}"}, info.total_episodes, str(path))
    train = sorted(splits)
    num_val = max(1, len(train) // 10) if len(train) > 1 else 0
    for episode in train[len(train) - num_val :]:
        splits[episode] = "val"
    if num_val:
        _log.info(f"{folder}: no val split in {schema.INFO}; the last {num_val} of {len(train)} episodes are val")
    else:
        _log.info(f"{folder}: no val split: there is a single episode")
    return splits


def read_tasks(folder: Path) -> list[str]:
    """Texts by task_index. ValueError naming the column that is wrong."""
    path = folder / schema.TASKS
    table = schema.read_parquet(path)
    require_columns(path, table.schema, {"task_index": _INTEGER})
    texts = [name for name in table.schema.names if name != "task_index"]
    if len(texts) != 1:
        raise ValueError(f"{path}: has the columns {table.schema.names}, wanted task_index and task")
    require_columns(path, table.schema, {texts[0]: _TEXT})
    if table[texts[0]].null_count:
        raise ValueError(f"{path}: column {texts[0]!r} has a row without a text; write an empty one for no caption")
    rows = sorted(zip(table["task_index"].to_pylist(), table[texts[0]].to_pylist(), strict=True))
    if [index for index, _ in rows] != list(range(len(rows))):
        raise ValueError(f"{path}: task_index must run from 0 to {len(rows) - 1}")
    return [text for _, text in rows]


def _episode_rows(folder: Path, info: Info) -> list[dict[str, Any]]:
    paths = sorted((folder / "meta/episodes").glob("*/*.parquet"))
    if not paths:
        raise ValueError(f"{folder / 'meta/episodes'}: no parquet file")
    wanted = {"episode_index": _INTEGER, "length": _INTEGER, "tasks": _TEXTS}
    wanted |= dict.fromkeys(("dataset_from_index", "dataset_to_index"), _INTEGER)
    wanted |= dict.fromkeys(("data/chunk_index", "data/file_index"), _INTEGER)
    for key in info.video_keys.values():
        wanted |= {f"videos/{key}/chunk_index": _INTEGER, f"videos/{key}/file_index": _INTEGER}
        wanted |= {f"videos/{key}/from_timestamp": _NUMBER}
    rows = []
    for path in paths:
        columns = schema.open_parquet(path).schema_arrow
        require_columns(path, columns, wanted)
        extra = [name for name in columns.names if name.startswith((schema.CAPTIONS, schema.FACTS))]
        rows += schema.read_parquet(path, [*wanted, *extra]).to_pylist()
    return rows


def require_columns(path: Path, found: pa.Schema, wanted: dict[str, Any]) -> None:
    """ValueError naming the first column that is absent or of another type. wanted: name -> (words, test of type)."""
    for name, (words, is_right) in wanted.items():
        if name not in found.names:
            raise ValueError(f"{path}: no column {name!r}; the wrong file, or not LeRobot {schema.VERSION}")
        if not is_right(found.field(name).type):
            raise ValueError(f"{path}: column {name!r} is {found.field(name).type}, wanted {words}")


def require_data_schema(path: Path, info: Info) -> pq.FileMetaData:
    """Check the columns of a data file against info.json; returns the file's metadata."""
    wanted: dict[str, Any] = dict.fromkeys(("frame_index", "episode_index", "task_index"), _INTEGER)
    wanted["timestamp"] = _NUMBER
    for name, signal in info.signals.items():
        words = f"{signal.dtype} {list(signal.shape)} as {schema.INFO} says"
        wanted[name] = (words, lambda kind, signal=signal: schema.fits(signal, kind))
    for key in info.image_keys.values():
        wanted[key] = ("an image (struct with bytes)", pa.types.is_struct)
    file = schema.open_parquet(path)
    require_columns(path, file.schema_arrow, wanted)
    return file.metadata
