"""What a rig of cameras is, in numbers.

Frames: camera axes are x right, y down, z forward (OpenCV); ego axes are x forward, y left, z up.

Shape legend: V views, T latent frames, D = 9 numbers of a pose; 44 is a 4x4 matrix.
"""

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.poses import planar, planar_between


def camera_numbers(
    world_from_rig_T44: NDArray[np.floating], world_from_camera_VT44: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Translation in m and the first two columns of the rotation of rig_from_camera, [V,T,9]."""
    rig_from_world_T44 = np.linalg.inv(world_from_rig_T44.astype(np.float64))
    rig_from_camera = rig_from_world_T44 @ world_from_camera_VT44.astype(np.float64)
    return np.concatenate([rig_from_camera[..., :3, column] for column in (3, 0, 1)], -1).astype(np.float32)


def ego_motion(world_from_ego_T44: NDArray[np.floating]) -> NDArray[np.float32]:
    """dx, dy in m and yaw in rad from the latent frame before, in its ego frame, [T,3]; row 0 is zero."""
    ground_T3 = planar(world_from_ego_T44)
    steps = planar_between(ground_T3[:-1], ground_T3[1:])
    return np.concatenate([np.zeros((1, 3)), steps]).astype(np.float32)
