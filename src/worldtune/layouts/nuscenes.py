"""Layout "nuscenes": tables in v1.0-*/ and camera images in samples/ and sweeps/.

Shape legend: V views, T frames.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from worldtune.contract.files import read_json
from worldtune.contract.poses import rigid, rotations_from_quaternions
from worldtune.dataset import Episode, Source
from worldtune.dataset.entries import entry, not_too_long, numbers, refuse_rate
from worldtune.video.footage import common_size_px, shared_size_px, typical_rate_hz, write_images
from worldtune.video.resample import nearest_frames, pixel_transform, resized_intrinsics, uniform_times_s

VIEWS = ("front", "front_left", "front_right", "back", "back_left", "back_right")
"""Order of cameras; those of other names follow by name."""
_TABLES = ("scene", "sample", "sample_data", "calibrated_sensor", "sensor", "ego_pose")


@dataclass(frozen=True)
class _Frame:
    time_s: float
    image: Path
    lens_4: np.ndarray
    ego_from_camera: np.ndarray
    world_from_ego: np.ndarray


@dataclass(frozen=True)
class _Drive:
    name: str
    text: str
    frames: dict[str, list[_Frame]]
    """By camera, in the order of time."""


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """Scenes in the order of the table; the scene's description is the text.

    With sweeps on disk all camera frames are used (about 12 Hz), else the keyframes (2 Hz). The cameras fire one after
    the other: each frame is the nearest to a common clock of constant rate and brings the pose of its own moment.
    ValueError naming the table, the record and the entry, or the image that is missing.
    """
    refuse_rate(fps_hz, "the timestamps of the tables")
    folders = sorted(path for path in source.glob("v1.0-*") if path.is_dir())
    if len(folders) != 1:
        got = ", ".join(path.name for path in folders) or "none"
        raise ValueError(f"{source}: wanted one folder of tables v1.0-*, got {got}")
    tables = _Tables(folders[0])
    has_sweeps = any((source / "sweeps").glob("CAM_*/*"))
    drives = [_drive(source, tables, scene, has_sweeps, allow_missing_captions) for scene in tables.rows("scene")]
    if not drives:
        raise ValueError(f"{tables.path('scene')}: no scenes")
    views = tuple(drives[0].frames)
    for drive in drives:
        if tuple(drive.frames) != views:
            raise ValueError(f"{drive.name}: cameras {', '.join(drive.frames)}, the first scene has {', '.join(views)}")
    rates = [typical_rate_hz(_times_s(frames)) for drive in drives for frames in drive.frames.values()]
    rate_hz = float(np.median(rates))
    return Source(episodes=_episodes(drives, rate_hz), num_episodes=len(drives), fps_hz=rate_hz)


class _Tables:
    """The tables by name, and their records by token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows = {name: read_json(self.path(name)) for name in _TABLES}
        self._by_token = {
            name: {entry(self.path(name), row, "token", str, f"record {index}"): row for index, row in enumerate(rows)}
            for name, rows in self._rows.items()
        }
        self.data_of_sample: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows("sample_data"):
            self.data_of_sample[self.value("sample_data", row, "sample_token", str)].append(row)
        self.samples_of_scene: dict[str, list[str]] = defaultdict(list)
        for row in self.rows("sample"):
            self.samples_of_scene[self.value("sample", row, "scene_token", str)].append(row["token"])

    def path(self, table: str) -> Path:
        """File of a table."""
        return self.folder / f"{table}.json"

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All records of a table."""
        rows: list[dict[str, Any]] = self._rows[table]
        return rows

    def value(self, table: str, row: dict[str, Any], name: str, kind: Any) -> Any:
        """An entry of a record. ValueError naming table, record and entry."""
        return entry(self.path(table), row, name, kind, f"record {row.get('token')}")

    def linked(self, table: str, row: dict[str, Any], to: str) -> dict[str, Any]:
        """The record of another table that a record points to."""
        token = self.value(table, row, f"{to}_token", str)
        if token not in self._by_token[to]:
            raise ValueError(f"{self.path(table)}: record {row['token']}: {to}_token {token!r} is not in {to}.json")
        found: dict[str, Any] = self._by_token[to][token]
        return found

    def pose(self, table: str, row: dict[str, Any]) -> np.ndarray:
        """Rotation and translation of a record, [4,4]."""
        name = f"{self.path(table)}: record {row['token']}: "
        wxyz = numbers(f"{name}rotation", self.value(table, row, "rotation", list), (4,))
        shift = numbers(f"{name}translation", self.value(table, row, "translation", list), (3,))
        result: np.ndarray = rigid(rotations_from_quaternions(wxyz[None], f"{name}rotation"), shift[None])[0]
        return result


def _drive(source: Path, tables: _Tables, scene: dict[str, Any], has_sweeps: bool, allow_silent: bool) -> _Drive:
    name = tables.value("scene", scene, "name", str)
    text = str(scene.get("description", "")).strip()
    if not text and not allow_silent:
        raise ValueError(
            f"{tables.path('scene')}: {name}: description is empty; write one, or give --allow-missing-captions"
        )
    not_too_long(text, f"{tables.path('scene')}: {name}: description")
    frames: dict[str, list[_Frame]] = defaultdict(list)
    for sample in tables.samples_of_scene[scene["token"]]:
        for row in tables.data_of_sample[sample]:
            is_wanted = has_sweeps or tables.value("sample_data", row, "is_key_frame", bool)
            lens = tables.linked("sample_data", row, "calibrated_sensor")
            sensor = tables.linked("calibrated_sensor", lens, "sensor")
            if is_wanted and tables.value("sensor", sensor, "modality", str) == "camera":
                view = tables.value("sensor", sensor, "channel", str).removeprefix("CAM_").lower()
                frames[view].append(_frame(source, tables, row, lens))
    if not frames:
        raise ValueError(f"{tables.path('sample_data')}: no camera frames of {name}")
    for view, found in frames.items():
        if len(found) < 2:
            raise ValueError(f"{tables.path('sample_data')}: {name} has {len(found)} frame of {view}, wanted 2 or more")
        found.sort(key=lambda frame: frame.time_s)
    order = sorted(frames, key=lambda view: (VIEWS.index(view) if view in VIEWS else len(VIEWS), view))
    return _Drive(name, text, {view: frames[view] for view in order})


def _frame(source: Path, tables: _Tables, row: dict[str, Any], lens: dict[str, Any]) -> _Frame:
    image = source / tables.value("sample_data", row, "filename", str)
    if not image.is_file():
        raise ValueError(f"{tables.path('sample_data')}: record {row['token']}: no such image as {image}")
    name = f"{tables.path('calibrated_sensor')}: record {lens['token']}: camera_intrinsic"
    matrix = numbers(name, tables.value("calibrated_sensor", lens, "camera_intrinsic", list), (3, 3))
    return _Frame(
        time_s=tables.value("sample_data", row, "timestamp", int) * 1e-6,
        image=image,
        lens_4=np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]),
        ego_from_camera=tables.pose("calibrated_sensor", lens),
        world_from_ego=tables.pose("ego_pose", tables.linked("sample_data", row, "ego_pose")),
    )


def _times_s(frames: list[_Frame]) -> np.ndarray:
    return np.array([frame.time_s for frame in frames])


def _on_clock(drive: _Drive, rate_hz: float) -> dict[str, list[_Frame]]:
    """Frames of each camera nearest to a clock of constant rate, over the time that all cameras cover."""
    times_s = {view: _times_s(frames) for view, frames in drive.frames.items()}
    # Cameras fire within one period; the clock starts with the first view, the others lie up to a period beside it.
    lead_s = next(iter(times_s.values()))
    latest_s = min(values[-1] for values in times_s.values()) + 0.5 / rate_hz
    earliest_s = max(values[0] for values in times_s.values()) - 0.5 / rate_hz
    covered_s = lead_s[(lead_s >= earliest_s) & (lead_s <= latest_s)]
    if not len(covered_s):
        raise ValueError(f"{drive.name}: the cameras {', '.join(drive.frames)} have no time in common")
    clock_s = uniform_times_s(covered_s, rate_hz)
    return {view: [frames[i] for i in nearest_frames(times_s[view], clock_s)] for view, frames in drive.frames.items()}


def _episodes(drives: list[_Drive], rate_hz: float) -> Iterator[Episode]:
    first = drives[0].frames
    sizes_px = {view: common_size_px([shared_size_px([frames[0].image])]) for view, frames in first.items()}
    with TemporaryDirectory() as scratch:
        for drive in drives:
            shown = _on_clock(drive, rate_hz)
            videos, lenses = {}, []
            for view, frames in shown.items():
                images = [frame.image for frame in frames]
                pixels = pixel_transform(shared_size_px(images), sizes_px[view])
                lenses.append(resized_intrinsics(np.stack([frame.lens_4 for frame in frames]), pixels))
                videos[view] = write_images(
                    images, Path(scratch) / f"{view}.mp4", fps_hz=rate_hz, size_px=sizes_px[view]
                )
            poses_VT44 = [[frame.world_from_ego @ frame.ego_from_camera for frame in row] for row in shown.values()]
            lead = next(iter(shown.values()))
            yield Episode(
                name=drive.name,
                videos=videos,
                fps_hz=rate_hz,
                texts=drive.text,
                features={
                    "camera.intrinsics": np.stack(lenses).astype(np.float32),
                    "camera.world_from_camera": np.array(poses_VT44, np.float32),
                    "ego.world_from_ego": np.array([frame.world_from_ego for frame in lead], np.float32),
                },
            )
