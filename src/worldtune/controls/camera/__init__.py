"""Camera: where the camera is and what its lens is, for every pixel frame.

`align` keeps poses and lenses, a few numbers per frame; rays are computed from them when they are needed, so that
the cache stays small (rays of a 57-frame Cosmos clip would weigh more than its latents) and every setting here may
change without another `prepare`.

Shape legend: B batch, V views, T latent frames, R pixel frames of one latent frame, H W latent grid, C channels,
D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Clip, Field, Grid
from worldtune.controls.camera import poses, rays

INTRINSICS, WORLD_FROM_CAMERA = "camera.intrinsics", "camera.world_from_camera"

FIELDS: dict[str, Field] = {
    INTRINSICS: Field(shape=(4,), unit="px", per_view=True),
    WORLD_FROM_CAMERA: Field(shape=(4, 4), unit="m", per_view=True),
}
"""fx, fy, cx, cy; camera to world with OpenCV axes: x right, y down, z forward."""

INJECT, SCALE, RAYS = ("both", "rays", "vector"), ("metric", "clip"), ("all", "last")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the camera control."""

    dropout: float = 0.1
    """Share of training samples that are not told where the camera is, so that guidance is defined. 0..1."""
    inject: str = "both"
    """"rays": Pluecker rays on the dense carrier. "vector": motion on the frame carrier. "both"."""
    scale: str = "metric"
    """"metric": lengths in units of `unit_m`, so that "half a metre" means the same in every clip. "clip": every clip
    is divided by its largest camera distance, for poses whose scale means nothing (structure from motion)."""
    unit_m: float = 1.0
    """Length that counts as 1 under "metric": about how far the camera gets within a clip."""
    rays: str = "all"
    """"all": rays of every pixel frame that a latent frame covers. "last": those of its last one."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"control.camera.dropout must be in 0..1, got {self.dropout}")
        if not self.unit_m > 0:
            raise ValueError(f"control.camera.unit_m must be positive, got {self.unit_m}")
        for name, known in (("inject", INJECT), ("scale", SCALE), ("rays", RAYS)):
            if getattr(self, name) not in known:
                raise ValueError(f"control.camera.{name} is {getattr(self, name)!r}, wanted one of {', '.join(known)}")


def align(clip: Clip, grid: Grid, config: Config) -> dict[str, np.ndarray]:
    """Poses and lenses on the latent grid, float32. No setting changes them.

    "first_from_camera" [V,T,R,4,4]: poses of the R pixel frames that each latent frame covers, relative to the first
    frame of the first view, metres; latent frame 0 is one pixel frame and repeats it. "lens" [V,T,R,4]: fx, fy, cx,
    cy in latent cells. "cells" [2]: rows and columns of the latent grid, int32.

    ValueError naming the clip and the feature when poses are not rigid, the lens does not fit the picture, or the
    number of frames is not the grid's.
    """
    for name in FIELDS:
        if name not in clip.features:
            raise ValueError(f"clip {clip.id}: the control 'camera' needs the feature {name!r}")
    height_px, width_px = grid.height * grid.pixels_per_latent, grid.width * grid.pixels_per_latent
    if clip.video_VTHWC.shape[2:4] != (height_px, width_px):
        raise ValueError(
            f"clip {clip.id}: has pictures of {list(clip.video_VTHWC.shape[2:4])} px, "
            f"the latent grid is of {[height_px, width_px]}"
        )
    frames = (grid.views, grid.num_pixel_frames)
    first_from_camera = poses.relative_poses(clip.features[WORLD_FROM_CAMERA], frames, f"clip {clip.id}")
    lens_px = poses.checked_lens(clip.features[INTRINSICS], frames, (height_px, width_px), f"clip {clip.id}")
    return {
        "first_from_camera": poses.by_latent(first_from_camera, grid.frames_per_latent).astype(np.float32),
        "lens": poses.by_latent(lens_px / grid.pixels_per_latent, grid.frames_per_latent).astype(np.float32),
        "cells": np.array([grid.height, grid.width], np.int32),
    }


def encoder(example: dict[str, Tensor], config: Config) -> nn.Module:
    """Geometry only: what learns is the family's injection, which starts at zero."""
    height, width = (int(size) for size in example["cells"].reshape(-1)[:2])
    return CameraGeometry(frames_per_latent=example["lens"].shape[-2], height=height, width=width, config=config)


class CameraGeometry(nn.Module):
    """Poses and lenses -> rays per latent cell and motion per latent frame. No parameters."""

    def __init__(self, *, frames_per_latent: int, height: int, width: int, config: Config) -> None:
        super().__init__()
        self.height, self.width, self.config = height, width, config
        ray_frames = frames_per_latent if config.rays == "all" else 1
        self.widths = Widths(
            frame=0 if config.inject == "rays" else rays.MOTION_NUMBERS * frames_per_latent + 1,
            dense=0 if config.inject == "vector" else rays.RAY_NUMBERS * ray_frames + 1,
        )

    def forward(self, arrays: dict[str, Tensor], keep_B: Tensor) -> Condition:
        """Aligned arrays with a leading batch axis -> Condition.

        The last channel of each carrier is 1. A dropped camera is all zeros, that channel too, which tells it from
        one that stands still.
        """
        # Half precision would move a ray by several pixels of a 1280-pixel picture.
        with torch.autocast(arrays["lens"].device.type, enabled=False):
            first_from_camera = rays.with_scale(
                arrays["first_from_camera"].float(), None if self.config.scale == "clip" else self.config.unit_m
            )
            lens = arrays["lens"].float()
            frame = dense = None
            if self.widths.frame:
                frame = _present(rays.motion(first_from_camera), keep_B)
            if self.widths.dense:
                last = slice(None) if self.config.rays == "all" else slice(-1, None)
                per_cell = rays.pluecker(first_from_camera[:, :, :, last], lens[:, :, :, last], self.height, self.width)
                dense = _present(per_cell, keep_B)
        return Condition(frame_BVTD=frame, dense_BVTHWC=dense)


def _present(values: Tensor, keep_B: Tensor) -> Tensor:
    """[B,...,D] -> [B,...,D+1]: a channel of ones, then zeros for the rows that are dropped."""
    marked = torch.cat([values, torch.ones_like(values[..., :1])], -1)
    return marked * keep_B.to(marked.dtype).reshape(-1, *[1] * (marked.ndim - 1))
