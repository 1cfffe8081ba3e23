"""Dataset: a LeRobot v3 folder, opened, validated and cut into clips.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from worldtune.contract.cache import Cache
from worldtune.contract.files import file_hash
from worldtune.contract.nouns import Clip
from worldtune.dataset import schema
from worldtune.dataset.meta import EpisodeInfo, Info, read_episodes, read_info, read_tasks, require_data_schema
from worldtune.dataset.window import Dropped, Window, WindowRef
from worldtune.video.read import decode_image, read_frames
from worldtune.video.resample import resize, resized_intrinsics

INTRINSICS = "camera.intrinsics"


def _hash(words: Iterable[str]) -> str:
    return hashlib.sha256("".join(words).encode()).hexdigest()


def _size_bytes(path: Path) -> int:
    """0 for a lost file, which `check` names."""
    return path.stat().st_size if path.is_file() else 0


@dataclass(frozen=True)
class Dataset:
    """A LeRobot v3 dataset. Open it with `Dataset.open`."""

    folder: Path
    info: Info
    episodes: list[EpisodeInfo]
    tasks: list[str]
    """Texts by task_index."""
    _tables: dict[Path, pa.Table] = field(default_factory=dict, repr=False)

    @staticmethod
    def open(folder: Path, cameras: Sequence[str] = ()) -> "Dataset":
        """Read meta/ and check the schema of every data file. ValueError naming file, field, got and wanted.

        cameras: those that are read, in this order; none named: all.
        """
        info = read_info(folder)
        if cameras:
            info = info.of_cameras(cameras, folder / schema.INFO)
        tasks = read_tasks(folder)
        episodes = read_episodes(folder, info, tasks)
        rows = Counter[Path]()
        for episode in episodes:
            rows[episode.data_path] += episode.length
        for path, num_rows in rows.items():
            found = require_data_schema(path, info).num_rows
            if found != num_rows:
                raise ValueError(f"{path}: {found} rows, the episodes in it have {num_rows} frames")
        if sum(rows.values()) != info.total_frames:
            raise ValueError(
                f"{folder / schema.INFO}: total_frames is {info.total_frames}, the episodes have {sum(rows.values())}"
            )
        dataset = Dataset(folder, info, episodes, tasks)
        dataset._features_by_view()
        return dataset

    @staticmethod
    def of_cache(cache: Cache) -> "Dataset":
        """The dataset that a cache was made from. ValueError when it is not there, or has changed since."""
        header, folder = cache.header, Path(cache.header.dataset)
        if not (folder / schema.INFO).is_file():
            raise ValueError(
                f"{cache.folder} was made from {folder}, which is no longer there; put it back or prepare again"
            )
        dataset = Dataset.open(folder, Window(**header.window).cameras)
        if not header.is_of(dataset.identity):
            raise ValueError(f"{folder}: the dataset has changed since `worldtune prepare` made {cache.folder}")
        return dataset

    @property
    def fps_hz(self) -> float:
        """Frames per second of videos and signals."""
        return self.info.fps_hz

    @property
    def views(self) -> tuple[str, ...]:
        """Camera names, in the order of the view axis."""
        return self.info.views

    @property
    def features(self) -> dict[str, tuple[int, ...]]:
        """Per-frame shape of every feature that clips carry; features of cameras once, not per view."""
        return {name: self.info.signals[columns[0]].shape for name, columns in self._features_by_view().items()}

    def _features_by_view(self) -> dict[str, list[str]]:
        """Feature -> its column, or its columns in the order of views for features of cameras."""
        result: dict[str, list[str]] = {}
        for column in self.info.signals:
            view = self.info.camera_of(column)
            if not column.startswith(schema.CAMERA_PREFIX):
                result[column] = [column]
            elif view is None:
                raise ValueError(
                    f"{self.folder / schema.INFO}: feature {column!r} must end with the name of a camera: "
                    f"{', '.join(self.views)}"
                )
            else:
                name = column.removesuffix(f".{view}")
                result[name] = [f"{name}.{v}" for v in self.views]
        for name, columns in result.items():
            if missing := [column for column in columns if column not in self.info.signals]:
                raise ValueError(f"{self.folder / schema.INFO}: {name} is missing for a camera: no {missing[0]!r}")
        return result

    def _rows(self, episode: EpisodeInfo) -> pa.Table:
        """Rows of one episode, without images; the last file read is kept."""
        if episode.data_path not in self._tables:
            self._tables.clear()
            columns = [*self.info.signals, "episode_index", "task_index", "timestamp"]
            self._tables[episode.data_path] = schema.read_parquet(episode.data_path, columns)
        rows = self._tables[episode.data_path].slice(episode.first_row, episode.length)
        if set(rows["episode_index"].to_pylist()) != {episode.index}:
            raise ValueError(f"{episode.data_path}: rows of episode {episode.index} are not where meta/episodes says")
        return rows

    def signals(self, episode: int) -> dict[str, np.ndarray]:
        """All features of an episode: [T,...], or [V,T,...] for features of cameras."""
        info = self.episodes[episode]
        rows = self._rows(info)

        def column(name: str) -> np.ndarray:
            return schema.to_numpy(rows[name], self.info.signals[name], f"{info.data_path}: {name}")

        return {
            name: np.stack([column(n) for n in columns]) if name.startswith(schema.CAMERA_PREFIX) else column(name)
            for name, columns in self._features_by_view().items()
        }

    def timestamps_s(self, episode: int) -> np.ndarray:
        """The timestamp column of an episode, float64 [T]; frame i is expected at i / fps."""
        return self._rows(self.episodes[episode])["timestamp"].to_numpy().astype(np.float64)

    @property
    def identity(self) -> str:
        """Hash of meta/, then hash of data files and of names and sizes of videos: equal for equal datasets.

        Videos are not read, which would take long, and times of files play no part: a copy is the same dataset.
        """
        meta = [self.folder / schema.INFO, self.folder / schema.TASKS]
        meta += sorted((self.folder / "meta/episodes").glob("*/*.parquet"))
        data = sorted({episode.data_path for episode in self.episodes})
        videos = sorted({span.path for episode in self.episodes for span in episode.videos.values()})
        sizes = [f"{path.relative_to(self.folder)} {_size_bytes(path)}" for path in videos]
        return _hash(map(file_hash, meta)) + _hash([*map(file_hash, data), *sizes])

    def frames(self, episode: int, view: str, indices: Sequence[int]) -> np.ndarray:
        """Frames of one camera at ascending frame numbers, uint8 [T,H,W,3]."""
        info = self.episodes[episode]
        if view in self.info.image_keys:
            return self._images(info, self.info.image_keys[view], indices)
        span = info.videos[view]
        times_s = span.from_s + np.asarray(indices) / self.fps_hz
        return read_frames(span.path, times_s, tolerance_s=0.5 / self.fps_hz + 1e-3)

    def _images(self, episode: EpisodeInfo, key: str, indices: Sequence[int]) -> np.ndarray:
        column = schema.read_rows(episode.data_path, [key], episode.first_row, episode.length)[key]
        images = []
        for index in indices:
            value, source = column[index].as_py() or {}, f"{episode.data_path}: episode {episode.index} frame {index}"
            if value.get("bytes") is None:
                raise ValueError(f"{source}: {key} is not embedded in the file (no bytes)")
            images.append(decode_image(value["bytes"], f"{source} {key}"))
        return np.stack(images)

    def read_clip(self, episode: int, start_frame: int, window: Window) -> Clip:
        """Decode, resample and resize one clip; intrinsics follow the resize. ValueError naming the file."""
        return self.read_clips(episode, [start_frame], window)[0]

    def read_clips(self, episode: int, start_frames: Sequence[int], window: Window) -> list[Clip]:
        """The same for several clips of an episode: what they share is decoded once."""
        info = self.episodes[episode]
        indices_by_clip = [window.source_frames(start, self.fps_hz) for start in start_frames]
        for start, indices in zip(start_frames, indices_by_clip, strict=True):
            if indices[-1] >= info.length:
                needed = f"a clip from {start} needs {indices[-1] + 1}"
                raise ValueError(f"{self.folder}: episode {episode} has {info.length} frames, {needed}")
        wanted = np.unique(np.concatenate(indices_by_clip))
        videos, transforms = [], []
        for view in self.views:
            frames_THWC = self.frames(episode, view, wanted.tolist())
            video_THWC, pixels = resize(frames_THWC, window.height_px, window.width_px, window.resize)
            videos.append(video_THWC)
            transforms.append(pixels)
        video_VTHWC, signals = np.stack(videos), self._resized(self.signals(episode), transforms)
        return [
            Clip(
                id=self.clip_id(episode, start),
                video_VTHWC=video_VTHWC[:, np.searchsorted(wanted, indices)],
                fps_hz=window.rate_hz(self.fps_hz),
                views=self.views,
                texts=self._texts(info, start),
                features={
                    name: values[:, indices] if name.startswith(schema.CAMERA_PREFIX) else values[indices]
                    for name, values in signals.items()
                },
            )
            for start, indices in zip(start_frames, indices_by_clip, strict=True)
        ]

    @staticmethod
    def _resized(signals: dict[str, np.ndarray], transforms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Signals of an episode whose views were resized by these pixel transforms: lenses follow."""
        if INTRINSICS not in signals:
            return signals
        lens_VT4 = signals[INTRINSICS]
        if lens_VT4.dtype.kind not in "f":
            # Half a pixel matters: a lens recorded in whole numbers need not be one after a resize.
            lens_VT4 = lens_VT4.astype(np.float32)
        resized = [resized_intrinsics(lens_T4, pixels) for lens_T4, pixels in zip(lens_VT4, transforms, strict=True)]
        return {**signals, INTRINSICS: np.stack(resized)}

    def _texts(self, episode: EpisodeInfo, start_frame: int) -> tuple[str, ...]:
        if episode.num_tasks == 1:
            return episode.texts
        task_index = self._rows(episode)["task_index"][start_frame].as_py()
        return (self.tasks[task_index],) * len(self.views)

    def clip_id(self, episode: int, start_frame: int) -> str:
        """Unique and stable: dataset, episode and first frame."""
        return f"{self.folder.resolve().name}-{episode:06d}-{start_frame:06d}"

    def windows(self, window: Window) -> tuple[list[WindowRef], list[Dropped]]:
        """All clips in order, and every episode that gives none, with the reason."""
        refs: list[WindowRef] = []
        dropped: list[Dropped] = []
        needed = window.source_frames(0, self.fps_hz)[-1] + 1
        clip = f"a clip of {window.num_frames} frames at {window.rate_hz(self.fps_hz):g} Hz spans {needed}"
        for episode in self.episodes:
            starts = window.starts(episode.length, self.fps_hz)
            if not starts:
                reason = f"has {episode.length} frames at {self.fps_hz:g} Hz, {clip}"
                dropped.append(Dropped(episode=episode.index, reason=reason))
            refs += [WindowRef(episode=episode.index, start_frame=start, split=episode.split) for start in starts]
        return refs, dropped
