"""Recordings of two robots: a gripper that moves in its own frame, and an arm that is told where its joints go.

Shape legend: T frames, D numbers of one action or state.
"""

from collections.abc import Sequence

import numpy as np

from tests.data.recordings import episode
from worldtune.controls.action.reach import POSE, poses_after
from worldtune.dataset import Episode

OPEN_FROM = 3
"""Recordings from this number on have an open gripper, those before a shut one that opens for the last frame."""
BENDS = np.array([60.0, -40.0, 90.0, 10.0, -30.0, 5.0, 50.0])
"""Middle of each joint, in degrees."""


def gripper(frames: int, first: int) -> dict[str, np.ndarray]:
    """Actions that lead from state to state; roll never changes."""
    waves = np.sin(np.arange(frames)[:, None] * [1.0, 0.7, 0.5, 0, 0.9, 0.6] + first * np.arange(1, 7))
    actions_TD = np.zeros((frames, 7))
    actions_TD[:, :POSE] = waves * [0.02, 0.02, 0.01, 0, 0.1, 0.1]
    actions_TD[:, 6] = 1 if first >= OPEN_FROM else np.arange(frames) == frames - 2
    states_TD = np.zeros((frames, 7))
    states_TD[:, :POSE] = poses_after(np.array([0.4, 0, 0.2, 3.1, 0, 0.5]), actions_TD[:-1])
    states_TD[:, 6] = np.concatenate([actions_TD[:1, 6], actions_TD[:-1, 6]])
    return {"action": actions_TD.astype(np.float32), "observation.state": states_TD.astype(np.float32)}


def arm(frames: int, first: int, joints: int = 7) -> dict[str, np.ndarray]:
    """Joints that swing about their middle, a frame behind their targets; some of them pass through 0."""
    ways_TD = np.sin(np.arange(frames + 1)[:, None] * 0.12 + first + np.arange(joints)) * 30 + BENDS[:joints]
    return {"action": ways_TD[1:].astype(np.float32), "observation.state": ways_TD[:-1].astype(np.float32)}


def gripper_recording(frames: int, views: Sequence[str], first: int) -> Episode:
    """A recording with `gripper`."""
    return episode(frames, tuple(views), text="push the red cube", first=first, **gripper(frames, first))


def arm_recording(frames: int, views: Sequence[str], first: int) -> Episode:
    """A recording with an `arm` of six joints."""
    return episode(frames, tuple(views), text="push the red cube", first=first, **arm(frames, first, 6))
