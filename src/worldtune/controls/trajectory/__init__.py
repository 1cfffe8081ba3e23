"""Trajectory: the way that the ego vehicle (or robot) takes over the ground.

Ego axes: x forward, y left, z up; the origin is a fixed point of the vehicle.

Shape legend: B batch, V views, T latent frames (P pixel frames), R = r sub-steps of a latent frame, K = 64 points of a
path, D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition, Released, Widths
from worldtune.contract.nouns import Clip, Field, Grid
from worldtune.contract.poses import planar
from worldtune.controls.trajectory.path import NUM_POINTS, future_path, poses_since_start, relative_motion, require_ego

FIELDS: dict[str, Field] = {"ego.world_from_ego": Field(shape=(4, 4), unit="m")}
KINDS = ("motion", "path", "both")

SPEED_SCALE = (10.0, 2.0, 0.5)
"""Typical speeds forward and to the left in m/s and yaw rate in rad/s: what the model reads is of the order of 1."""
PATH_SCALE = (10.0, 4.0, 1.0)
"""Divisors of x, y, z of path points, those of Cosmos."""
POSE_SCALE = (5.0, 1.0, 0.25)
"""Divisors of x, y in m and yaw in rad since the first frame: of the order of what a clip of two seconds shows."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the trajectory control."""

    kind: str = "both"
    """What a latent frame is told. "motion": the ego motion that it shows. "path": the way ahead from its moment, as in
    Cosmos (64 points, 0.1 s apart), as far as the clip goes. "both"."""
    pose: bool = True
    """Tell each latent frame also where the ego is, seen from the first frame: what a picture shows follows from the
    given one and this alone, while motions have to be added up over the frames first."""
    dropout: float = 0.2
    """Share of training samples without trajectory, so that guidance on it is defined. 0..1."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"control.trajectory.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"control.trajectory.dropout must be in 0..1, got {self.dropout}")


def align(clip: Clip, grid: Grid) -> dict[str, np.ndarray]:
    """The ego path on the latent grid, float32, in physical units; `kind` is chosen in training.

    `motion` [T,1+R,3]: dx, dy in m and yaw in rad, each in the ego frame where it starts; row 0 is the whole step from
    pixel frame (k-1)r to kr, the others are the r frames of it. Latent frame 0 has no motion: zeros.
    `seconds` [1+R]: how long these take. `pose` [T,R,3]: x, y in m and yaw in rad of the same r frames, seen from pixel
    frame 0; zeros at latent frame 0. `path` [T,64,3]: points in m in the ego frame of pixel frame kr, held where
    the clip ends; `path_known` [T,64]: 1 inside the clip, 0 beyond.

    Raises ValueError naming clip and feature when the poses are none, or their z does not point up.
    """
    poses_P44 = clip.features["ego.world_from_ego"]
    where = f"clip {clip.id}: ego.world_from_ego"
    require_ego(poses_P44, where)
    if len(poses_P44) != grid.num_pixel_frames:
        raise ValueError(f"{where}: {len(poses_P44)} poses for {grid.num_pixel_frames} frames")
    r = grid.frames_per_latent
    path_TK3, known_TK = future_path(poses_P44, r, clip.fps_hz)
    seconds = np.array([r, *[1] * r], np.float32) / np.float32(clip.fps_hz)
    return {
        "motion": relative_motion(planar(poses_P44), r),
        "pose": poses_since_start(planar(poses_P44), r),
        "seconds": seconds,
        "path": path_TK3,
        "path_known": known_TK,
    }


def encoder(example: dict[str, Tensor], config: Config) -> nn.Module:
    """Scales the numbers; the family's injection is what learns. ValueError for a cache that has no poses."""
    if config.pose and "pose" not in example:
        raise ValueError("control.trajectory.pose is true, but the cache was made without poses: prepare it again")
    return TrajectoryNumbers(num_steps=example["motion"].shape[-2], config=config)


class TrajectoryNumbers(nn.Module):
    """No parameters. Speeds instead of distances, so that clips of different frame rates agree."""

    def __init__(self, *, num_steps: int, config: Config) -> None:
        super().__init__()
        self.config = config
        motion, pose, path = 3 * num_steps, 3 * (num_steps - 1), NUM_POINTS * 4
        self.widths = Widths(
            frame=1 + motion * (config.kind != "path") + pose * config.pose + path * (config.kind != "motion")
        )

    def forward(self, arrays: dict[str, Tensor], keep_B: Tensor) -> Condition:
        """Condition with frame [B,1,T,D], the same for all views; channel 0 is 1 where it is kept, all 0 where not.

        A released network that reads trajectories is told the path ahead of the first frame, point after point.
        """
        motion = arrays["motion"].float()
        speed = motion / arrays["seconds"].float()[:, None, :, None] / motion.new_tensor(SPEED_SCALE)
        parts = [torch.ones_like(speed[:, :, 0, :1])]
        if self.config.kind != "path":
            parts.append(speed.flatten(2))
        if self.config.pose:
            parts.append((arrays["pose"].float() / motion.new_tensor(POSE_SCALE)).flatten(2))
        path_BTK3 = arrays["path"].float() / motion.new_tensor(PATH_SCALE)
        if self.config.kind != "motion":
            parts += [path_BTK3.flatten(2), arrays["path_known"].float()]
        is_kept_B1 = keep_B.to(motion.dtype)[:, None]
        rows_BTD = torch.cat(parts, -1) * is_kept_B1[..., None]
        released = Released(trajectory_BK=path_BTK3[:, 0].flatten(1) * is_kept_B1)
        return Condition(frame_BVTD=rows_BTD[:, None], released=released)
