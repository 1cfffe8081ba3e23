"""Views: which camera is which, and optionally where it sits. Any number of named cameras.

The model's latent frames of one moment lie side by side without order; a view tells itself apart by what this room
adds to its cells. Texts per view belong to the text room.

Shape legend: B batch, V views, K cameras that a run knows, T latent frames (P pixel frames), N characters of a name,
D = 9 numbers of a pose, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition, Released, Widths
from worldtune.contract.nouns import Clip, Field, Grid
from worldtune.contract.poses import require_poses
from worldtune.controls.views.rig import camera_numbers

FIELDS: dict[str, Field] = {
    "camera.world_from_camera": Field(shape=(4, 4), unit="m", per_view=True, optional=True),
    "ego.world_from_ego": Field(shape=(4, 4), unit="m", optional=True),
}
"""Needed with `extrinsics` only."""

MAX_NAME_BYTES = 48
IDENTITY_CHANNELS = 8
"""Learned numbers that name a camera; they are mapped linearly, so a few suffice for many cameras."""
REPEATS = 10
"""The released models are told repeated frames in tens."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the views control."""

    dropout: float = 0.0
    """Share of training samples whose views are not named, 0..1. At 0 views are named in both branches of guidance,
    as in Cosmos: a network that never saw nameless views has no null to be guided away from."""
    view_dropout: float = 0.0
    """Probability 0..1 of each view to be missing from a training step, though never of all. Above 0 the run serves
    clips of any of its cameras, in any order."""
    extrinsics: bool = False
    """Also give each camera's pose in the rig, so that a model may serve rigs that differ. The dataset needs
    camera.world_from_camera."""
    base_cameras: tuple[int, ...] = ()
    """Which of the cameras of a released multi-view base each of the dataset's is, from 0. Empty: in order."""
    frame_repeat: tuple[float, ...] = ()
    """How often frames of each camera were repeated, for a released base that was told. Empty: never."""

    def __post_init__(self) -> None:
        for name in ("dropout", "view_dropout"):
            if not 0 <= vars(self)[name] <= 1:
                raise ValueError(f"control.views.{name} must be in 0..1, got {vars(self)[name]}")
        for name in ("base_cameras", "frame_repeat"):
            if min(vars(self)[name], default=0) < 0:
                raise ValueError(f"control.views.{name} must not be negative, got {list(vars(self)[name])}")
        if len(set(self.base_cameras)) < len(self.base_cameras):
            raise ValueError(f"control.views.base_cameras must differ, got {list(self.base_cameras)}")


def align(clip: Clip, grid: Grid) -> dict[str, np.ndarray]:
    """`names` uint8 [V,N]; with poses `rig_from_camera` [V,T,9].

    The rig is the ego frame of that moment, or else the first camera. Raises ValueError for two cameras of one name, a
    long name, and a pose that is none.
    """
    arrays = {"names": _name_bytes(clip)}
    frames_T = np.arange(grid.frames) * grid.frames_per_latent
    ego_P44 = clip.features.get("ego.world_from_ego")
    if ego_P44 is not None:
        require_poses(ego_P44, f"clip {clip.id}: ego.world_from_ego")
    cameras_VP44 = clip.features.get("camera.world_from_camera")
    if cameras_VP44 is not None:
        require_poses(cameras_VP44, f"clip {clip.id}: camera.world_from_camera")
        rig_P44 = cameras_VP44[0] if ego_P44 is None else ego_P44
        arrays["rig_from_camera"] = camera_numbers(rig_P44[frames_T], cameras_VP44[:, frames_T])
    return arrays


def _name_bytes(clip: Clip) -> np.ndarray:
    if len(set(clip.views)) < len(clip.views):
        raise ValueError(f"clip {clip.id}: cameras must have different names, got {', '.join(clip.views)}")
    names_VN = np.zeros((len(clip.views), MAX_NAME_BYTES), np.uint8)
    for row_N, name in zip(names_VN, clip.views, strict=True):
        encoded = name.encode()
        if len(encoded) > MAX_NAME_BYTES:
            raise ValueError(f"clip {clip.id}: camera name {name!r} is longer than {MAX_NAME_BYTES} bytes")
        row_N[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    return names_VN


def encoder(example: dict[str, Tensor], config: Config) -> nn.Module:
    """The module that names the cameras of `example`.

    ValueError when poses are asked for and there are none, and for settings of another number of cameras.
    """
    if config.extrinsics and "rig_from_camera" not in example:
        raise ValueError(
            "control.views.extrinsics is true, but the cache has no camera poses: the dataset needs the feature "
            "camera.world_from_camera"
        )
    return ViewIdentity(example["names"], config)


class ViewIdentity(nn.Module):
    """A learned vector per camera, and its pose if wanted, the same in every cell of the view.

    The vectors start at random; what a family makes of them starts at zero.
    """

    names_VN: Tensor
    """Of the cameras that the run knows, K of them."""

    def __init__(self, names_VN: Tensor, config: Config) -> None:
        super().__init__()
        self.register_buffer("names_VN", names_VN.reshape(-1, *names_VN.shape[-2:])[0].clone())
        self.identity = nn.Parameter(torch.empty(len(self.names_VN), IDENTITY_CHANNELS))
        self.config = config
        self.widths = Widths(dense=IDENTITY_CHANNELS + (9 if config.extrinsics else 0))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal, std 1, as the released multi-view models; the same at every start."""
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.identity.copy_(torch.randn(self.identity.shape, generator=draw))

    def adopt(self, saved: Mapping[str, Tensor]) -> None:
        """Know the cameras of a run, of which the cache may have fewer if it was trained for that."""
        names_VN = saved.get("names_VN")
        if self.config.view_dropout > 0 and names_VN is not None and names_VN.shape[1] == self.names_VN.shape[1]:
            self.names_VN = names_VN.clone()
            self.identity = nn.Parameter(torch.zeros(len(names_VN), IDENTITY_CHANNELS))

    def forward(self, arrays: dict[str, Tensor], keep_B: Tensor) -> Condition:
        """Condition with dense [B,V,T or 1,1,1,C]; zeros where it is dropped, if it can be.

        ValueError outside of training when the run does not know the cameras; without view dropout also when they are
        not all of them, in that order.
        """
        places_BV = self._places(arrays["names"])
        rows_BVTC = self.identity[places_BV][:, :, None]
        if self.config.extrinsics:
            poses_BVTD = arrays["rig_from_camera"].to(rows_BVTC.dtype)
            rows_BVTC = torch.cat([rows_BVTC.expand(-1, -1, poses_BVTD.shape[2], -1), poses_BVTD], -1)
        if self.config.dropout > 0:
            rows_BVTC = rows_BVTC * keep_B.to(rows_BVTC.dtype)[:, None, None, None]
        return Condition(dense_BVTHWC=rows_BVTC[:, :, :, None, None], released=self._released(places_BV))

    def _released(self, places_BV: Tensor) -> Released:
        def of_cameras(name: str) -> Tensor | None:
            values = getattr(self.config, name)
            if not values:
                return None
            if len(values) != len(self.names_VN):
                raise ValueError(
                    f"control.views.{name} has {len(values)} numbers, the run has {len(self.names_VN)} cameras: "
                    f"{', '.join(_texts(self.names_VN))}"
                )
            return torch.tensor(values, device=places_BV.device)[places_BV]

        repeats_BV, cameras_BV = of_cameras("frame_repeat"), of_cameras("base_cameras")
        return Released(
            camera_BV=places_BV if cameras_BV is None else cameras_BV,
            frame_repeat_BV=None if repeats_BV is None else repeats_BV / REPEATS,
        )

    def _places(self, names_BVN: Tensor) -> Tensor:
        """Which camera of the run each view is, int64 [B,V]."""
        is_known_BVK = (names_BVN[:, :, None] == self.names_VN).all(-1)
        places_BV = is_known_BVK.int().argmax(-1)
        if not self.training:
            every_K = torch.arange(len(self.names_VN), device=places_BV.device)
            fits = bool(is_known_BVK.any(-1).all())
            if self.config.view_dropout == 0:
                fits = fits and places_BV.shape[1] == len(every_K) and bool((places_BV == every_K).all())
            if not fits:
                order = "" if self.config.view_dropout > 0 else ", in this order"
                got, wanted = (", ".join(_texts(names)) for names in (names_BVN[0], self.names_VN))
                raise ValueError(f"the run was trained with the cameras {wanted}{order}, and the clips have {got}")
        return places_BV


def _texts(names_VN: Tensor) -> list[str]:
    return [bytes(row.tolist()).rstrip(b"\0").decode() for row in names_VN.cpu()]
