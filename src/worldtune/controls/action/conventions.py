"""What the numbers of recorded actions are: motions or targets, of a gripper or of anything else.

Shape legend: N frames of all recordings, D numbers of one action, S numbers of one state; 34 is a 3x4 matrix.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.poses import rotations_from_euler
from worldtune.contract.steering import percentiles
from worldtune.controls.action import ACTION, GRIPPER_NUMBERS, STATE
from worldtune.controls.action.reach import POSE, poses_after

CLOSE = 0.05
"""How far off recorded poses may lie from where the actions lead, as a share of the way from the first one; and how
far off the opening may be, 0..1."""
ROUNDING = 1e-4
"""m, and entries of rotations: the same for a gripper that stands still."""
FOLLOWS = 0.5
"""Correlation from which an action is taken to tell of the state. In our tabletop and in Bridge motions have 0.7 to 1
with the change of the state, less only where an angle jumps by full turns, and at most 0.25 with the state itself."""
CENTRED, QUICK = 0.1, 0.05
"""Shares of the range: how far from zero the median of a motion may be, and how much it changes from frame to frame at
least, where there is no state to compare it with."""


def moves_gripper(recorded: Sequence[Mapping[str, np.ndarray]]) -> bool:
    """Whether actions lead from state to state as Bridge and our tabletop record them: motions in the gripper's frame.

    Followed from the first state of a recording on, they must reproduce the others. Seven joints, motions in the
    robot's axes and motions in other units than m and rad do not.
    """
    off, way, opening_off = [], [], []
    for part in recorded:
        actions, states = np.asarray(part[ACTION]), np.asarray(part.get(STATE, np.zeros((0, 0))))
        if actions.shape[1] != GRIPPER_NUMBERS or states.ndim != 2 or states.shape[1] < GRIPPER_NUMBERS:
            return False
        seen, led = _matrices(states), _matrices(poses_after(states[0], actions[:-1]))
        off.append(np.abs(led - seen))
        way.append(np.abs(seen - seen[0]))
        opening_off.append(np.abs(states[1:, POSE] - actions[:-1, POSE]))
    off_N34, way_N34 = np.concatenate(off), np.concatenate(way)
    return bool(np.concatenate(opening_off).mean() <= CLOSE) and all(
        off_N34[..., columns].mean() <= CLOSE * way_N34[..., columns].mean() + ROUNDING
        for columns in (slice(3), slice(3, 4))
    )


def are_targets(recorded: Sequence[Mapping[str, np.ndarray]]) -> NDArray[np.bool_]:
    """Which numbers of actions say where to be and stay until another is commanded, [D]; the others say how to move.

    The number in the same place of the state decides: a target goes along with the state, a motion with its change.
    How fast an action changes does not tell them apart: smooth motions change as slowly as quick targets do. It only
    counts where no state follows the action (there is none, or it is in other units and order): there a motion is what
    is quick and lies around zero. In doubt it is a target, since one taken for a motion would spring to zero.
    """
    actions = [np.asarray(part[ACTION], np.float64) for part in recorded]
    all_ND = np.concatenate(actions)
    (low, high), middle = percentiles(all_ND), np.median(all_ND, axis=0)
    steps_ND = np.concatenate([np.abs(np.diff(part, axis=0)) for part in actions])
    is_centred = (low < 0) & (high > 0) & (np.abs(middle) <= CENTRED * (high - low))
    is_motion = is_centred & (steps_ND.mean(0) >= QUICK * (high - low))
    states = [np.asarray(part.get(STATE, np.zeros((len(part[ACTION]), 0))), np.float64) for part in recorded]
    if any(part.ndim != 2 for part in states):
        return ~is_motion
    count = min(all_ND.shape[1], states[0].shape[1])
    given_ND = np.concatenate([part[:-1, :count] for part in actions])
    place = _correlation(given_ND, np.concatenate([part[1:, :count] for part in states]))
    change = np.abs(_correlation(given_ND, np.concatenate([np.diff(part[:, :count], axis=0) for part in states])))
    is_motion[:count] = np.where(np.maximum(place, change) >= FOLLOWS, change > place, is_motion[:count])
    return ~is_motion


def _matrices(poses_NS: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rotations beside places, [N,3,4]: roll, pitch and yaw jump by full turns, and are not unique straight up."""
    poses = np.asarray(poses_NS[:, :POSE], np.float64)
    return np.concatenate([rotations_from_euler(poses[:, 3:]), poses[:, :3, None]], -1)


def _correlation(one_ND: NDArray[np.float64], other_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column with its namesake, [D]; 0 where one is constant."""
    one_ND, other_ND = one_ND - one_ND.mean(0), other_ND - other_ND.mean(0)
    size = np.sqrt((one_ND**2).sum(0) * (other_ND**2).sum(0))
    return (one_ND * other_ND).sum(0) / np.maximum(size, 1e-12)
