"""Ego paths beside foreign recordings: SOURCE/ego/CLIP.csv with time_s,x_m,y_m,yaw_rad.

Time 0 is the clip's first frame. Shape legend: T frames.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldtune.contract.ego_csv import read_csv, world_from_ego

FOLDER = "ego"


def require_ego(source: Path, stems: Sequence[str]) -> None:
    """ValueError unless all clips have a path or none has, and every path can be read."""
    found = sorted(path.stem for path in (source / FOLDER).glob("*.csv"))
    if found and (missing := [stem for stem in stems if stem not in found]):
        raise ValueError(f"{source / FOLDER / missing[0]}.csv: no such ego path, though {found[0]} has one")
    for stem in stems if found else ():
        read_csv(source / FOLDER / f"{stem}.csv")


def ego_features(source: Path, stem: str, times_s: np.ndarray) -> dict[str, np.ndarray]:
    """ego.world_from_ego [T,4,4] of a clip at these times since its first frame; nothing when there are no paths.

    ValueError naming the file when it does not cover them.
    """
    path = source / FOLDER / f"{stem}.csv"
    if not path.is_file():
        return {}
    try:
        poses_T44 = world_from_ego(read_csv(path), times_s)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    return {"ego.world_from_ego": poses_T44.astype(np.float32)}
