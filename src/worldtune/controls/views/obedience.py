"""Do the views show one and the same drive? Ego motion read from each view on its own, compared between views.

Shape legend: T latent frames, N of them that were generated, V views, P pairs of views, D = 3: dx, dy in m, yaw in rad.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure, Reading

READING = Reading(per_view=True)
"""Each view has a probe of its own, which sees nothing else (`metrics/crossview.py`)."""
NUMBERS = 3

_COMMON = (
    "Probes that see one camera each read the ego motion of every generated latent frame; this is how far apart two "
    "cameras' answers are, on average. Probes differ on real clips too: compare with the real column. Views that all "
    "stand still agree: read it with PSNR where it moves."
)
MEASURES: dict[str, Measure] = {
    "cross_view_motion_m": Measure(
        label="views disagree on motion, m", better="lower", decimals=3, meaning=f"{_COMMON} Metres per latent frame."
    ),
    "cross_view_turn_rad": Measure(
        label="views disagree on turning, rad", better="lower", decimals=4, meaning=f"{_COMMON} Yaw per latent frame."
    ),
}


def targets(arrays: Mapping[str, np.ndarray]) -> NDArray[np.float32]:
    """Ego motion once for every view, [T, V D]; row 0 is zero. ValueError for data without an ego path, or one view."""
    num_views = arrays["names"].shape[0]
    if num_views < 2:
        raise ValueError("one view has no other to agree with")
    if "ego_motion" not in arrays:
        raise ValueError("views are compared by the ego motion they show, and the dataset has no ego.world_from_ego")
    return np.tile(np.asarray(arrays["ego_motion"], np.float32), (1, num_views))


def errors(read_TD: NDArray[np.floating], commanded_TD: NDArray[np.floating], num_observed: int) -> dict[str, float]:
    """Values of MEASURES for one clip. What was commanded plays no part: that is the trajectory room's question."""
    first = max(1, num_observed)
    if first >= len(read_TD):
        raise ValueError(f"all {len(read_TD)} latent frames are observed: there is no view to judge")
    read_NVD = read_TD[first:].reshape(len(read_TD) - first, -1, NUMBERS)
    one, other = np.triu_indices(read_NVD.shape[1], 1)
    apart_NPD = read_NVD[:, one] - read_NVD[:, other]
    return {
        "cross_view_motion_m": float(np.linalg.norm(apart_NPD[..., :2], axis=-1).mean()),
        "cross_view_turn_rad": float(np.abs(apart_NPD[..., 2]).mean()),
    }
