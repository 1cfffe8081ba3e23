"""Geometry of an ego path over the ground.

Ego axes: x forward, y left, z up. A planar pose is x, y in m and yaw in rad, counter-clockwise.

Shape legend: P pixel frames, T latent frames, R = r sub-steps, K points, N any number; 44 is a 4x4 matrix.
"""

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.poses import planar_between, require_poses

NUM_POINTS = 64
SPACING_S = 0.1
"""Cosmos: 64 points, every 0.1 s, 6.4 s ahead."""
MIN_UP = 0.5
"""A vehicle whose z axis leans by more than 60 degrees is a wrong frame, not a hill."""


def require_ego(poses_P44: NDArray[np.floating], where: str) -> None:
    """ValueError starting with `where` unless these are poses with z pointing up."""
    require_poses(poses_P44, where)
    if (poses_P44[:, 2, 2] < MIN_UP).any():
        raise ValueError(f"{where}: z of the ego frame must point up (x forward, y left), but it leans over")


def accumulate(steps_N3: NDArray[np.floating]) -> NDArray[np.float64]:
    """Planar poses [N,3] after each step, from the origin; every step is in the frame where it starts."""
    dx, dy, turn = steps_N3.astype(np.float64).T
    yaw = np.cumsum(turn)
    cos, sin = np.cos(yaw - turn), np.sin(yaw - turn)
    return np.stack([np.cumsum(cos * dx - sin * dy), np.cumsum(sin * dx + cos * dy), yaw], -1)


def relative_motion(planar_P3: NDArray[np.floating], r: int) -> NDArray[np.float32]:
    """Steps of latent frames and of the pixel frames in them, [T,1+R,3]; zeros at latent frame 0."""
    latents = planar_P3[::r]
    motion = np.zeros((len(latents), 1 + r, 3), np.float32)
    motion[1:, 0] = planar_between(latents[:-1], latents[1:])
    motion[1:, 1:] = planar_between(planar_P3[:-1], planar_P3[1:]).reshape(-1, r, 3)
    return motion


def poses_since_start(planar_P3: NDArray[np.floating], r: int) -> NDArray[np.float32]:
    """Poses of the pixel frames of each latent frame seen from pixel frame 0, [T,R,3]; zeros at latent frame 0."""
    seen_P3 = planar_between(np.broadcast_to(planar_P3[:1], planar_P3.shape), planar_P3)
    rows_TR3 = seen_P3[1:].reshape(-1, r, 3)
    return np.concatenate([np.zeros_like(rows_TR3[:1]), rows_TR3]).astype(np.float32)


def future_path(
    poses_P44: NDArray[np.floating], r: int, fps_hz: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Positions ahead in the ego frame of every latent frame, [T,K,3], and 1 where the clip still shows them, [T,K].

    Beyond the clip's end the last position is held.
    """
    poses = poses_P44.astype(np.float64)
    now_T44, recorded_s = poses[::r], np.arange(len(poses)) / fps_hz
    times_TK = recorded_s[::r, None] + SPACING_S * np.arange(1, NUM_POINTS + 1)
    world_TK3 = np.stack([np.interp(times_TK, recorded_s, poses[:, axis, 3]) for axis in range(3)], -1)
    path_TK3 = (world_TK3 - now_T44[:, None, :3, 3]) @ now_T44[:, :3, :3]
    known_TK = times_TK <= recorded_s[-1] + 1e-6
    return path_TK3.astype(np.float32), known_TK.astype(np.float32)
