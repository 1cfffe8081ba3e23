"""What a rig of cameras is, in numbers.

Frames: camera axes are x right, y down, z forward (OpenCV); ego axes are x forward, y left, z up.

Shape legend: V views, T latent frames, D = 9 numbers of a pose; 44 is a 4x4 matrix.
"""

import numpy as np
from numpy.typing import NDArray


def camera_numbers(
    world_from_rig_T44: NDArray[np.floating], world_from_camera_VT44: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Translation in m and the first two columns of the rotation of rig_from_camera, [V,T,9]."""
    rig_from_world_T44 = np.linalg.inv(world_from_rig_T44.astype(np.float64))
    rig_from_camera = rig_from_world_T44 @ world_from_camera_VT44.astype(np.float64)
    return np.concatenate([rig_from_camera[..., :3, column] for column in (3, 0, 1)], -1).astype(np.float32)
