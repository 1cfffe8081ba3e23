"""How far a gripper comes by its actions: what single motions in its own frame hide from a network that sees pictures.

Shape legend: T frames, D numbers of one action.
"""

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.poses import euler_from_rotations, rotations_from_euler

POSE = 6
"""x, y, z in m, then roll, pitch, yaw in rad (rotation Rz Ry Rx): of a state in the robot's axes, of an action in the
axes of the gripper before it."""


def poses_after(state_D: NDArray[np.floating], actions_TD: NDArray[np.floating]) -> NDArray[np.float64]:
    """Poses before the first and after every action, in the robot's axes, [T+1,6]."""
    place, turn = np.asarray(state_D[:3], np.float64), rotations_from_euler(np.asarray(state_D[None, 3:POSE]))[0]
    steps = rotations_from_euler(np.asarray(actions_TD[:, 3:POSE], np.float64))
    places, turns = [place], [turn]
    for action_D, step in zip(actions_TD, steps, strict=True):
        place, turn = place + turn @ action_D[:3], turn @ step
        places.append(place)
        turns.append(turn)
    return np.concatenate([np.array(places), euler_from_rotations(np.array(turns))], 1)


def reached(state_D: NDArray[np.floating], actions_TD: NDArray[np.floating]) -> NDArray[np.float32]:
    """How far the gripper has come from the state when each action is done, in the robot's axes, [T,6].

    Differences of place in m and of roll, pitch and yaw in rad, these in -pi..pi.
    """
    poses = poses_after(state_D, actions_TD)
    way = poses[1:] - poses[0]
    way[:, 3:] = (way[:, 3:] + np.pi) % (2 * np.pi) - np.pi
    return way.astype(np.float32)
