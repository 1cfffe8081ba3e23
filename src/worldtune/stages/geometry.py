"""Judges that need no probe: what the true geometry of cameras says of made clips.

Shape legend: V views, T frames, H W rows and columns, C colours; 44 is a 4x4 matrix.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from worldtune.contract.nouns import Clip, Measure
from worldtune.metrics import crossview, epipolar, odometry
from worldtune.stages.counter import Counter
from worldtune.stages.made_clips import ClipInfo
from worldtune.stages.source import Source

MAX_CLIPS = 60
"""Training clips that tell how far away things usually are, and how cameras move; more change nothing to be seen."""
INTRINSICS, WORLD_FROM_CAMERA = "camera.intrinsics", "camera.world_from_camera"


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """Lenses and poses of a clip."""

    lens_VT4: NDArray[np.float64]
    world_from_camera_VT44: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GeometryJudge(ABC):
    """Knows the cameras of the clips that it judges."""

    cameras: Mapping[str, Cameras]
    """By clip."""
    control: ClassVar[str]
    is_commanded: ClassVar[bool]
    measures: ClassVar[Mapping[str, Measure]]

    @abstractmethod
    def errors(
        self, made_VTHWC: NDArray[np.uint8], real_VTHWC: NDArray[np.uint8], clip: ClipInfo, commanded_by: str
    ) -> dict[str, float | None]:
        """See `judges.Judge`."""

    def to_json(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"measures": list(self.measures), "is_commanded": self.is_commanded}


@dataclass(frozen=True, kw_only=True)
class CrossViewJudge(GeometryJudge):
    """Whether the cameras of a rig show one scene (`metrics/crossview.py`)."""

    ranges: crossview.Ranges
    gap: int
    """Pixel frames of one latent frame."""
    control: ClassVar[str] = "views"
    is_commanded: ClassVar[bool] = False
    measures: ClassVar[Mapping[str, Measure]] = crossview.MEASURES

    def errors(
        self, made_VTHWC: NDArray[np.uint8], real_VTHWC: NDArray[np.uint8], clip: ClipInfo, commanded_by: str
    ) -> dict[str, float | None]:
        """Values of the measures; `commanded_by` plays no part, since all clips have the same cameras."""
        made, real = crossview.small(made_VTHWC), crossview.small(real_VTHWC)
        overlaps = crossview.overlaps(_rig(self.cameras[clip.id], real_VTHWC).scaled(*real.shape[2:4]), self.ranges)
        return _defined(crossview.cross_view_scores(made, real, overlaps, self.gap, clip.num_observed_frames))


@dataclass(frozen=True, kw_only=True)
class EpipolarJudge(GeometryJudge):
    """Whether pictures lie on the epipolar lines of the commanded cameras (`metrics/epipolar.py`)."""

    gap: int
    control: ClassVar[str] = "camera"
    is_commanded: ClassVar[bool] = True
    measures: ClassVar[Mapping[str, Measure]] = epipolar.MEASURES

    def errors(
        self, made_VTHWC: NDArray[np.uint8], real_VTHWC: NDArray[np.uint8], clip: ClipInfo, commanded_by: str
    ) -> dict[str, float | None]:
        """Values of the measures, over the views that were made; the truth plays no part."""
        start = max(0, clip.num_observed_frames - self.gap)
        cameras = self.cameras[commanded_by]
        views = zip(made_VTHWC, cameras.lens_VT4, cameras.world_from_camera_VT44, strict=True)
        parts = [
            epipolar.consistency(video[start:], lens[start:], poses[start:], gap=self.gap)
            for video, lens, poses in islice(views, clip.num_given_views, None)
        ]
        return _defined(epipolar.epipolar_scores(parts))


@dataclass(frozen=True, kw_only=True)
class OdometryJudge(GeometryJudge):
    """Where the camera went, by aligning frames with the given one (`metrics/odometry.py`)."""

    typical: odometry.Typical
    paths: dict[bytes, list[NDArray[np.float64]]] = field(default_factory=dict)
    """Read already, by clip and pixels: seeds share columns, and a clip is held against two commands."""
    scenes: dict[str, list[odometry.Scene]] = field(default_factory=dict)
    """Of the given frames, by clip."""
    control: ClassVar[str] = "camera"
    is_commanded: ClassVar[bool] = True
    measures: ClassVar[Mapping[str, Measure]] = odometry.MEASURES

    def errors(
        self, made_VTHWC: NDArray[np.uint8], real_VTHWC: NDArray[np.uint8], clip: ClipInfo, commanded_by: str
    ) -> dict[str, float | None]:
        """Values of the measures, averaged over the views that were made; None when no frame is given."""
        if not clip.num_observed_frames:
            return dict.fromkeys(self.measures)
        key = hashlib.sha256(clip.id.encode() + made_VTHWC.tobytes()).digest()
        if key not in self.paths:
            self.paths[key] = self._paths(made_VTHWC, real_VTHWC, clip)
        commanded_VT44 = self.cameras[commanded_by].world_from_camera_VT44[clip.num_given_views :]
        given = clip.num_observed_frames - 1
        errors = [
            odometry.path_errors(read, told, given) for read, told in zip(self.paths[key], commanded_VT44, strict=True)
        ]
        return _defined({name: float(np.mean([error[name] for error in errors])) for name in self.measures})

    def _paths(
        self, made_VTHWC: NDArray[np.uint8], real_VTHWC: NDArray[np.uint8], clip: ClipInfo
    ) -> list[NDArray[np.float64]]:
        """Of the views that were made. How far away things are says the true clip, with its own cameras."""
        cameras, given = self.cameras[clip.id], clip.num_observed_frames - 1
        views = range(clip.num_given_views, len(made_VTHWC))
        looks = [odometry.looked_at(made_VTHWC[view], cameras.lens_VT4[view]) for view in views]
        if clip.id not in self.scenes:
            self.scenes[clip.id] = [
                odometry.scene(*odometry.looked_at(real_VTHWC[view], lens_T4), path_T44, given)
                for view, lens_T4, path_T44 in zip(
                    views, cameras.lens_VT4[views], cameras.world_from_camera_VT44[views], strict=True
                )
            ]
        return [
            odometry.camera_path(*look, scene, given, self.typical)
            for look, scene in zip(looks, self.scenes[clip.id], strict=True)
        ]


def geometry_judges(
    controls: Sequence[str], source: Source, clips: Sequence[ClipInfo], console: Console
) -> tuple[list[GeometryJudge], dict[str, str]]:
    """A judge for every control whose cameras can be judged, and for those that cannot, why."""
    found: list[GeometryJudge] = []
    skipped = {}
    if "views" in controls:
        try:
            found.append(_cross_view_judge(source, clips, console))
        except ValueError as error:
            skipped["views"] = str(error)
    if "camera" in controls:
        cameras = _cameras(source, clips)
        trained = (_cameras_of(source.clip(index)).world_from_camera_VT44 for index in source.training(MAX_CLIPS))
        typical = odometry.typical_motion(path_T44 for paths_VT44 in trained for path_T44 in paths_VT44)
        found.append(OdometryJudge(cameras=cameras, typical=typical))
        found.append(EpipolarJudge(cameras=cameras, gap=source.cache.header.grid.frames_per_latent))
    return found, skipped


def _cross_view_judge(source: Source, clips: Sequence[ClipInfo], console: Console) -> CrossViewJudge:
    """ValueError for a dataset without a rig, one camera only, or cameras that do not overlap."""
    if source.cache.header.grid.views < 2:
        raise ValueError("one view has no other to agree with")
    for name in (INTRINSICS, WORLD_FROM_CAMERA):
        if name not in source.dataset.features:
            raise ValueError(f"views are compared where the rig says that they overlap, and the dataset has no {name}")
    gap, training = source.cache.header.grid.frames_per_latent, source.training(MAX_CLIPS)
    with Counter("reading where cameras overlap", len(training), console) as counter:

        def real_clips() -> Any:
            for index in training:
                clip = source.clip(index)
                pictures = crossview.small(clip.video_VTHWC)
                yield pictures, _rig(_cameras_of(clip), clip.video_VTHWC).scaled(*pictures.shape[2:4])
                counter.add(1)

        ranges = crossview.typical_ranges(real_clips(), gap)
    return CrossViewJudge(ranges=ranges, cameras=_cameras(source, clips), gap=gap)


def _cameras(source: Source, clips: Sequence[ClipInfo]) -> dict[str, Cameras]:
    """Of the judged clips and those whose control the shuffled column was given."""
    places = source.places()
    wanted = {clip.id for clip in clips} | {clip.foreign_id for clip in clips if clip.foreign_id is not None}
    return {clip_id: _cameras_of(source.clip(places[clip_id])) for clip_id in sorted(wanted)}


def _cameras_of(clip: Clip) -> Cameras:
    return Cameras(lens_VT4=clip.features[INTRINSICS], world_from_camera_VT44=clip.features[WORLD_FROM_CAMERA])


def _rig(cameras: Cameras, video_VTHWC: NDArray[np.uint8]) -> crossview.Rig:
    return crossview.rig_of(cameras.lens_VT4, cameras.world_from_camera_VT44, *video_VTHWC.shape[2:4])


def _defined(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
