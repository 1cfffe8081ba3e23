"""Camera: where the camera is and what its lens is, for every pixel frame.

`align` keeps poses and lenses, a few numbers per frame; rays are computed from them when they are needed, so that
the cache stays small (rays of a 57-frame Cosmos clip would weigh more than its latents) and every setting here may
change without another `prepare`.

Shape legend: B batch, V views, T latent frames, R pixel frames of one latent frame, H W latent grid, C channels,
D width.
"""

from collections.abc import Iterable
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

SMALLEST_MOTION = 1e-4
"""Root mean square below which cameras of a dataset do not turn or move: rounding is not blown up."""

INJECT, SCALE, RAYS = ("both", "rays", "vector"), ("metric", "clip"), ("all", "last")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the camera control."""

    dropout: float = 0.1
    """Share of training samples that are not told where the camera is, so that guidance is defined. 0..1."""
    inject: str = "both"
    """"rays": Pluecker rays on the dense carrier. "vector": motion on the frame carrier. "both"."""
    scale: str = "metric"
    """"metric": every clip is divided by the same length, learned from the training clips, so that "half a metre" means
    the same in all. "clip": each by its own largest camera distance, for poses whose scale means nothing (structure
    from motion)."""
    rays: str = "all"
    """"all": rays of every pixel frame that a latent frame covers. "last": those of its last one."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"control.camera.dropout must be in 0..1, got {self.dropout}")
        for name, known in (("inject", INJECT), ("scale", SCALE), ("rays", RAYS)):
            if getattr(self, name) not in known:
                raise ValueError(f"control.camera.{name} is {getattr(self, name)!r}, wanted one of {', '.join(known)}")


def align(clip: Clip, grid: Grid) -> dict[str, np.ndarray]:
    """Poses and lenses on the latent grid, float32. No setting changes them.

    "first_from_camera" [V,T,R,4,4]: poses of the R pixel frames that each latent frame covers, relative to the first
    frame of the first view, metres; latent frame 0 is one pixel frame and repeats it. "lens" [V,T,R,4]: fx, fy, cx,
    cy in latent cells. "cells" uint8 [H,W]: 1 for every latent cell that shows the picture, which is all of them, since
    clips are cut and never padded; it tells the size of the grid.

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
        "cells": np.ones((grid.height, grid.width), np.uint8),
    }


def encoder(example: dict[str, Tensor], config: Config) -> nn.Module:
    """Geometry only: what learns is the family's injection, which starts at zero."""
    height, width = example["cells"].shape[-2:]
    return CameraGeometry(frames_per_latent=example["lens"].shape[-2], height=height, width=width, config=config)


class CameraGeometry(nn.Module):
    """Poses and lenses -> rays per latent cell and motion per latent frame.

    Its buffers come from `fit` and are saved with the weights; there are no parameters.
    """

    unit_m: Tensor
    """Length that counts as 1 under "metric"."""
    typical_2: Tensor
    """Root mean square of the numbers of a motion: rotation minus identity, and translation in units."""

    def __init__(self, *, frames_per_latent: int, height: int, width: int, config: Config) -> None:
        super().__init__()
        self.frames_per_latent, self.height, self.width = frames_per_latent, height, width
        self.config = config
        self.register_buffer("unit_m", torch.ones(()))
        self.register_buffer("typical_2", torch.ones(2))
        ray_frames = frames_per_latent if config.rays == "all" else 1
        self.widths = Widths(
            frame=0 if config.inject == "rays" else rays.MOTION_NUMBERS * frames_per_latent + 1,
            dense=0 if config.inject == "vector" else rays.RAY_NUMBERS * ray_frames + 1,
        )

    def fit(self, clips: Iterable[dict[str, Tensor]]) -> None:
        """Learn how far and how fast the cameras of the training clips go, so that a network sees numbers around 1.

        All axes share one size: a direction in which nothing ever moves is not blown up.
        """
        count, squared_m2, squares_2 = 0, 0.0, torch.zeros(2, dtype=torch.float64)
        is_clip = self.config.scale == "clip"
        for arrays in clips:
            poses_1VTR44 = arrays["first_from_camera"].double()[None]
            distance_m = rays.largest_distance(poses_1VTR44)
            squared_m2 += distance_m.square().item()
            scaled_1VTR44 = rays.with_unit(poses_1VTR44, distance_m if is_clip else torch.ones(()))
            rotation, translation = rays.motion(scaled_1VTR44)
            squares_2 += torch.stack([part[:, :, 1:].square().mean() for part in (rotation, translation)])
            count += 1
        if not count:
            return
        if not is_clip and squared_m2 > count * rays.MIN_DISTANCE_M**2:
            self.unit_m.fill_((squared_m2 / count) ** 0.5)
        typical_2 = (squares_2 / count).sqrt() / torch.tensor([1.0, self.unit_m.item()])
        self.typical_2.copy_(torch.where(typical_2 > SMALLEST_MOTION, typical_2, 1.0))

    def forward(self, arrays: dict[str, Tensor], keep_B: Tensor) -> Condition:
        """Aligned arrays with a leading batch axis -> Condition.

        The last channel of each carrier is 1. A dropped camera is all zeros, that channel too, which tells it from
        one that stands still. ValueError when the arrays are of another codec or size than the model was made for.
        """
        self._require_same_grid(arrays)
        # Half precision would move a ray by several pixels of a 1280-pixel picture.
        with torch.autocast(arrays["lens"].device.type, enabled=False):
            poses_BVTR44, lens_BVTR4 = arrays["first_from_camera"].float(), arrays["lens"].float()
            unit = rays.largest_distance(poses_BVTR44) if self.config.scale == "clip" else self.unit_m
            poses_BVTR44 = rays.with_unit(poses_BVTR44, unit)
            frame = dense = None
            if self.widths.frame:
                parts = zip(rays.motion(poses_BVTR44), self.typical_2, strict=True)
                frame = _present(torch.cat([(part / size).flatten(-2) for part, size in parts], -1), keep_B)
            if self.widths.dense:
                chosen = slice(None) if self.config.rays == "all" else slice(-1, None)
                poses, lens = poses_BVTR44[:, :, :, chosen], lens_BVTR4[:, :, :, chosen]
                dense = _present(rays.pluecker(poses, lens, self.height, self.width), keep_B)
        return Condition(frame_BVTD=frame, dense_BVTHWC=dense)

    def _require_same_grid(self, arrays: dict[str, Tensor]) -> None:
        got = (arrays["lens"].shape[-2], *arrays["cells"].shape[-2:])
        wanted = self.frames_per_latent, self.height, self.width
        if got != wanted:
            raise ValueError(
                f"control 'camera': got {got[0]} poses per latent frame on a grid of {got[1]} x {got[2]} cells, "
                f"the model takes {wanted[0]} on {wanted[1]} x {wanted[2]}"
            )


def _present(values: Tensor, keep_B: Tensor) -> Tensor:
    """[B,...,D] -> [B,...,D+1]: a channel of ones, then zeros for the rows that are dropped."""
    marked = torch.cat([values, torch.ones_like(values[..., :1])], -1)
    return marked * keep_B.to(marked.dtype).reshape(-1, *[1] * (marked.ndim - 1))
