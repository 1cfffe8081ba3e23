"""Recordings of something that moves, with every feature that a control reads: actions, cameras, an ego path.

Axes of the ego: x forward, y left, z up; of a camera: x right, y down, z forward. Lengths in m, angles in rad.

Shape legend: V views, T frames; 44 is a 4x4 matrix.
"""

from pathlib import Path

import numpy as np

from worldtune.dataset import Episode, write_dataset

TEXTS = ("push the red cube", "push the blue cube", "a door opens")
SIDE_PX = 32
SPLITS = {"train": "0:4", "val": "4:6"}
NUM_EPISODES = 6
EGO_FROM_CAMERA = np.array([[0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.2], [0, 0, 0, 1]])


def moving_episode(
    number: int,
    views: tuple[str, ...] = ("front",),
    num_frames: int = 9,
    without: tuple[str, ...] = (),
    **instead: np.ndarray,
) -> Episode:
    """No two numbers move alike. without: prefixes of features to leave out; instead: features of another size."""
    share_T = np.linspace(0, 1, num_frames)
    ego_T44 = _turned((number - 2.5) * 0.2 * share_T)
    ego_T44[:, 0, 3], ego_T44[:, 1, 3] = (1 + 0.5 * number) * share_T, 0.3 * number * share_T**2
    mounts_V44 = _turned(np.arange(len(views)) * 0.5) @ EGO_FROM_CAMERA
    lens_4 = [SIDE_PX, SIDE_PX, SIDE_PX / 2, SIDE_PX / 2]
    features = {
        "action": np.random.default_rng(number).normal(size=(num_frames, 3)),
        "camera.intrinsics": np.tile(lens_4, (len(views), num_frames, 1)),
        "camera.world_from_camera": ego_T44[None] @ mounts_V44[:, None],
        "ego.world_from_ego": ego_T44,
    }
    features |= {name.replace("__", "."): value for name, value in instead.items()}
    return Episode(
        name=f"moving {number}",
        videos={view: coloured_video(num_frames, 10 * number + v) for v, view in enumerate(views)},
        fps_hz=10.0,
        texts=TEXTS[number % len(TEXTS)],
        features={name: value.astype(np.float32) for name, value in features.items() if not name.startswith(without)},
    )


def coloured_video(num_frames: int, seed: int) -> np.ndarray:
    """Large squares whose colours change, so that the tokens of two clips differ. uint8 [T,H,W,3]."""
    squares = np.random.default_rng(seed).integers(0, 256, (num_frames, 4, 4, 3), dtype=np.uint8)
    return np.ascontiguousarray(squares.repeat(SIDE_PX // 4, 1).repeat(SIDE_PX // 4, 2))


def _turned(yaw_N: np.ndarray) -> np.ndarray:
    """Rotations about z, [N,4,4]."""
    poses_N44 = np.tile(np.eye(4), (len(yaw_N), 1, 1))
    poses_N44[:, 0, 0] = poses_N44[:, 1, 1] = np.cos(yaw_N)
    poses_N44[:, 1, 0], poses_N44[:, 0, 1] = np.sin(yaw_N), -np.sin(yaw_N)
    return poses_N44


def moving_dataset(
    folder: Path, views: tuple[str, ...] = ("front",), without: tuple[str, ...] = (), **instead: np.ndarray
) -> Path:
    """Six recordings, four of them to train on."""
    episodes = (moving_episode(number, views, without=without, **instead) for number in range(NUM_EPISODES))
    return write_dataset(folder, episodes, fps_hz=10, splits=SPLITS)
