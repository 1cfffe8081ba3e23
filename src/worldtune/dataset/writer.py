"""Writing a dataset: streamed, one episode in memory at a time; the folder appears whole or not at all.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.contract.files import write_json, write_whole
from worldtune.dataset import schema, stats
from worldtune.dataset.episode import Episode, text_fault
from worldtune.dataset.schema import Signal
from worldtune.dataset.video_files import VideoFiles

ZSTD: dict[str, Any] = {"compression": "zstd", "compression_level": 12, "write_statistics": False}
ROWS_TOGETHER = 256
"""Rows of signals, at least, that are packed together; one episode cannot be read without the others of its group."""


def write_dataset(
    folder: Path,
    episodes: Iterable[Episode],
    *,
    fps_hz: float,
    splits: Mapping[str, str] | None = None,
    crf: int = 18,
    pixel_format: str = "yuv420p",
) -> Path:
    """Write episodes as a LeRobot v3 dataset and return the folder.

    All episodes have the same cameras, sizes and features. Nothing appears at `folder` when an episode is faulty.

    splits: ranges of episodes as LeRobot writes them, {"train": "0:40", "val": "40:50"}; None: all of them are train.
    crf, pixel_format: of the h264 streams; use yuv444p for frames below about 128 px or of odd size.
    Raises ValueError when the folder exists and is not empty, or naming the episode, the field and what was wanted.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: exists already; choose another folder or delete it")
    with write_whole(folder) as temporary:
        temporary.mkdir()
        writer = _Writer(temporary, fps_hz, {"crf": crf, "pixel_format": pixel_format})
        try:
            for episode in episodes:
                writer.add(episode)
            writer.write_waiting()
        finally:
            writer.close()
        writer.finish(splits)
    return folder


class _Writer:
    def __init__(self, folder: Path, fps_hz: float, encoding: Mapping[str, Any]) -> None:
        self.folder, self.fps_hz, self.encoding = folder, fps_hz, encoding
        self.videos: dict[str, VideoFiles] = {}
        self.signals: dict[str, Signal] = {}
        self.tasks: dict[str, int] = {}
        self.rows: list[dict[str, Any]] = []
        self.captions: list[dict[str, str]] = []
        self.parts: list[dict[str, stats.Stats]] = []
        self.num_frames = 0
        self._data: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []

    def add(self, episode: Episode) -> None:
        """Check one episode and write its frames and signals."""
        if abs(episode.fps_hz / self.fps_hz - 1) > 1e-3:
            raise ValueError(f"{episode.name}: fps_hz is {episode.fps_hz:g}, the dataset has {self.fps_hz:g}")
        if not self.videos:
            self.videos = {view: VideoFiles(self.folder, view, self.fps_hz, self.encoding) for view in episode.videos}
        if episode.views != tuple(self.videos):
            raise ValueError(f"{episode.name}: cameras {list(episode.views)}, the dataset has {list(self.videos)}")
        texts = self._texts(episode)
        columns = _columns(episode)
        placed = {view: self.videos[view].add(video, episode.name) for view, video in episode.videos.items()}
        length = _length(episode, {view: place.num_frames for view, place in placed.items()}, columns)
        self._write_data(episode, columns, length, self.tasks.setdefault(texts[0], len(self.tasks)))
        part = {name: stats.of_signal(values) for name, values in columns.items()}
        part |= {self.videos[view].key: place.stats for view, place in placed.items()}
        row: dict[str, Any] = {"episode_index": len(self.rows), "tasks": [texts[0]], "length": length}
        row |= {"data/chunk_index": 0, "data/file_index": 0}
        row |= {"dataset_from_index": self.num_frames, "dataset_to_index": self.num_frames + length}
        for view, place in placed.items():
            row |= place.columns(self.videos[view].key)
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        row |= {f"{schema.FACTS}{name}": value for name, value in {"name": episode.name, **episode.facts}.items()}
        self.rows.append(row)
        self.captions.append(dict(zip(episode.views, texts, strict=True)))
        self.parts.append(part)
        self.num_frames += length

    def _texts(self, episode: Episode) -> tuple[str, ...]:
        for text in episode.texts_per_view:
            if fault := text_fault(text):
                raise ValueError(f"{episode.name}: {fault}")
        return episode.texts_per_view

    def _write_data(self, episode: Episode, columns: dict[str, np.ndarray], length: int, task_index: int) -> None:
        signals = {name: Signal(dtype=str(values.dtype), shape=values.shape[1:]) for name, values in columns.items()}
        if not self.rows:
            self.signals = signals
        if signals != self.signals:
            wrong = next(n for n in [*self.signals, *signals] if signals.get(n) != self.signals.get(n))
            raise ValueError(
                f"{episode.name}: feature {wrong!r} is {signals.get(wrong)}, earlier episodes have "
                f"{self.signals.get(wrong)}"
            )
        index = np.arange(length)
        arrays: dict[str, pa.Array] = {name: signals[name].to_arrow(values) for name, values in columns.items()}
        arrays["timestamp"] = pa.array((index / self.fps_hz).astype(np.float32))
        arrays["frame_index"] = pa.array(index)
        arrays["episode_index"] = pa.array(np.full(length, len(self.rows)))
        arrays["index"] = pa.array(index + self.num_frames)
        arrays["task_index"] = pa.array(np.full(length, task_index))
        self._waiting.append(pa.table(arrays))
        if sum(map(len, self._waiting)) >= ROWS_TOGETHER:
            self.write_waiting()

    def write_waiting(self) -> None:
        """The signals of the last episodes as one row group."""
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting)
        if self._data is None:
            path = self.folder / schema.DATA_PATH.format(chunk_index=0, file_index=0)
            path.parent.mkdir(parents=True)
            self._data = pq.ParquetWriter(path, table.schema, **_packed(table.schema))
        self._data.write_table(table)
        self._waiting.clear()

    def close(self) -> None:
        """Finish the open files; also after an error."""
        for files in self.videos.values():
            files.close()
        if self._data is not None:
            self._data.close()
            self._data = None

    def finish(self, splits: Mapping[str, str] | None) -> None:
        """Write everything under meta/."""
        if not self.rows:
            raise ValueError("no episodes to write")
        ranges = dict(splits) if splits else {"train": f"0:{len(self.rows)}"}
        split_of_episodes(ranges, len(self.rows), "splits")
        names = [*self.signals, *(files.key for files in self.videos.values())]
        total = {name: stats.joined([part[name] for part in self.parts]) for name in names}
        write_json(self.folder / schema.STATS, {n: {k: v.tolist() for k, v in s.items()} for n, s in total.items()})
        pq.write_table(schema.tasks_table(list(self.tasks)), self.folder / schema.TASKS)
        path = self.folder / schema.EPISODES
        path.parent.mkdir(parents=True)
        pq.write_table(self._episodes_table(), path, use_dictionary=False, **ZSTD)
        write_json(self.folder / schema.INFO, self._info(ranges))

    def _episodes_table(self) -> pa.Table:
        rows = [dict(row) for row in self.rows]
        if any(len(set(captions.values())) > 1 for captions in self.captions):
            for row, captions in zip(rows, self.captions, strict=True):
                row |= {f"{schema.CAPTIONS}{view}": text for view, text in captions.items()}
        for row, part in zip(rows, self.parts, strict=True):
            row |= {f"stats/{n}/{k}": v.tolist() for n, values in part.items() for k, v in values.items()}
        names = list(dict.fromkeys(name for row in rows for name in row))
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})

    def _info(self, splits: dict[str, str]) -> dict[str, Any]:
        features = {name: signal.info() for name, signal in self.signals.items()}
        features |= {files.key: files.info() for files in self.videos.values()}
        features |= {n: Signal(dtype=dtype, shape=(1,)).info() for n, dtype in schema.INDEX_DTYPES.items()}
        return {
            "codebase_version": schema.VERSION,
            "robot_type": None,
            "total_episodes": len(self.rows),
            "total_frames": self.num_frames,
            "total_tasks": len(self.tasks),
            "chunks_size": schema.FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": schema.VIDEO_FILE_MB,
            "fps": int(self.fps_hz) if float(self.fps_hz).is_integer() else self.fps_hz,
            "splits": splits,
            "data_path": schema.DATA_PATH,
            "video_path": schema.VIDEO_PATH,
            "features": features,
        }


def _packed(columns: pa.Schema) -> dict[str, Any]:
    """How signals are packed: the bytes of neighbouring floats apart by place halve what zstd leaves of poses."""
    floats = []
    for name, kind in zip(columns.names, columns.types, strict=True):
        is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
        if pa.types.is_floating(kind.value_type if is_list else kind):
            floats.append(f"{name}.list.element" if is_list else name)
    others = [name for name in columns.names if name not in floats]
    return {**ZSTD, "use_dictionary": others, "use_byte_stream_split": floats}


def _columns(episode: Episode) -> dict[str, np.ndarray]:
    """Data columns [T, ...] of an episode: features of cameras become one column per view."""
    columns: dict[str, np.ndarray] = {}
    for name, values in episode.features.items():
        if str(values.dtype) not in schema.DTYPES:
            raise ValueError(
                f"{episode.name}: {name} has dtype {values.dtype}, wanted one of {', '.join(schema.DTYPES)}"
            )
        if name in schema.INDEX_DTYPES:
            raise ValueError(f"{episode.name}: the name {name!r} is reserved for LeRobot's own column")
        if name.startswith(schema.CAMERA_PREFIX):
            if values.ndim < 2 or len(values) != len(episode.views):
                wanted = f"[{len(episode.views)},T,...], one entry per camera"
                raise ValueError(f"{episode.name}: {name} has shape {list(values.shape)}, wanted {wanted}")
            columns |= {f"{name}.{view}": values[position] for position, view in enumerate(episode.views)}
        else:
            columns[name] = values
    for name, values in columns.items():
        if values.ndim == 1:
            columns[name] = values[:, None]
        if not np.isfinite(values).all():
            raise ValueError(f"{episode.name}: {name} has a value that is not finite at frame {_first_bad(values)}")
    return columns


def _first_bad(values: np.ndarray) -> int:
    return int(np.argwhere(~np.isfinite(values))[0][0])


def _length(episode: Episode, num_frames: Mapping[str, int], columns: Mapping[str, np.ndarray]) -> int:
    lengths = dict(num_frames) | {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"{episode.name}: cameras and features differ in their number of frames: {counts}")
    return next(iter(lengths.values()))


def split_of_episodes(splits: Mapping[str, str], num_episodes: int, source: str) -> dict[int, str]:
    """Name of the split of every episode. ValueError when a range is malformed, overlaps or exceeds the episodes."""
    result: dict[int, str] = {}
    for name, text in splits.items():
        start, _, stop = str(text).partition(":")
        if not (start.isdigit() and stop.isdigit() and int(start) <= int(stop) <= num_episodes):
            raise ValueError(f"{source}: split {name!r} is {text!r}, wanted FIRST:END within 0:{num_episodes}")
        for episode in range(int(start), int(stop)):
            if episode in result:
                raise ValueError(f"{source}: episode {episode} is in split {result[episode]!r} and in {name!r}")
            result[episode] = name
    return result
