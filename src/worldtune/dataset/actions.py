"""Actions of a gripper from its recorded poses, in the convention of Bridge and IRASim.

Shape legend: T frames, D numbers per frame.
"""

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.poses import euler_from_rotations, rotations_from_euler

COSMOS_SCALE = 20.0
"""Factor on motion in the released Cosmos recipes; without meaning where actions are normalised anyway."""


def relative_actions(states_TD: NDArray[np.floating], *, scale: float = 1.0) -> NDArray[np.float32]:
    """Row t is the motion from frame t to frame t+1, seen from the gripper at frame t. Returns [T-1, 7].

    states_TD: x, y, z in m, roll, pitch, yaw in rad (rotation Rz(yaw) Ry(pitch) Rx(roll), world from gripper), then
    the gripper's opening; further columns are not read. Result: dx, dy, dz in m, droll, dpitch, dyaw in rad (the same
    order of rotations), and the opening at frame t+1, not a difference. `scale` multiplies the first six. ValueError
    for fewer than 2 frames, fewer than 7 columns, or a value that is not finite.
    """
    states = np.asarray(states_TD, np.float64)
    if states.ndim != 2 or states.shape[0] < 2 or states.shape[1] < 7:
        raise ValueError(f"states must be [frames >= 2, x y z roll pitch yaw gripper ...], got {list(states.shape)}")
    if not np.isfinite(states[:, :7]).all():
        raise ValueError(f"states: frame {int(np.argwhere(~np.isfinite(states[:, :7]))[0, 0])} is not finite")
    world_from_gripper = rotations_from_euler(states[:, 3:6])
    gripper_from_world = world_from_gripper[:-1].swapaxes(1, 2)
    shift = (gripper_from_world @ np.diff(states[:, :3], axis=0)[:, :, None])[:, :, 0]
    turn = euler_from_rotations(gripper_from_world @ world_from_gripper[1:])
    return np.concatenate([scale * shift, scale * turn, states[1:, 6:7]], axis=1).astype(np.float32)
