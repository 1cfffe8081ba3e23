"""Pictures of all cells for the documents: `python -m recipes.gallery MATRIX [--out docs]`.

MATRIX is the folder of `worldtune matrix`. Of every cell in it OUT/cells/TASK-FAMILY.webp gets the first held-out clip
and the one half way (not picked): rows are the truth, the post-trained model, the same under another clip's control and
the base, frames from left to right. OUT/gallery.webp has the first clip of every cell, moving.

Shape legend: T frames, H W rows and columns, C = 3 colours.
"""

import argparse
from pathlib import Path

import numpy as np

from recipes.table import FAMILIES
from worldtune.report.film import tiled
from worldtune.report.sheet import animation, contact_sheet
from worldtune.run import load_run
from worldtune.stages.made_clips import MadeSet
from worldtune.tasks import TASKS

ROWS = {"truth": "real", "post-trained": "post-trained", "shuffled": "shuffled", "base": "base"}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--fps-hz", type=float, default=8.0, help="of the moving picture")
    parser.add_argument("--scale", type=int, default=1, help="of the moving picture")
    args = parser.parse_args()
    (args.out / "cells").mkdir(parents=True, exist_ok=True)
    moving: dict[str, list[np.ndarray]] = {}
    for task in TASKS:
        cells = {family: made for family in FAMILIES if (made := first_seed(args.matrix, task, family))}
        for family, made in cells.items():
            clips = [rows(made, place) for place in (0, len(made.clips) // 2)]
            print(contact_sheet(clips, args.out / "cells" / f"{task}-{family}.webp", num_frames=7))
        moving[task.removeprefix("multiview_")] = column(cells)
    print(animation(aligned(moving), args.out / "gallery.webp", fps_hz=args.fps_hz, scale=args.scale))


def first_seed(matrix: Path, task: str, family: str) -> MadeSet | None:
    """The made clips of a cell; None when there are none."""
    runs = [path.parent for path in sorted(matrix.glob(f"{task}-*/run-*/run.json"))]
    folders = [run.with_name(run.name.replace("run-", "clips-")) for run in runs if load_run(run).family == family]
    made = [folder for folder in folders if (folder / "generate.json").exists()]
    return MadeSet.open(made[0]) if made else None


def rows(made: MadeSet, place: int) -> dict[str, np.ndarray]:
    """Row name -> frames of one clip, uint8 [T,H,W,3], views side by side."""
    clip = made.clips[place]
    return {row: tiled(made.read(clip.id, name).pixels_VTHWC) for row, name in ROWS.items() if name in made.columns}


def column(cells: dict[str, MadeSet]) -> list[np.ndarray]:
    """The truth, then of every base the post-trained model and the same under another control; first views."""
    parts: list[np.ndarray] = []
    for made in cells.values():
        names = ["post-trained", "shuffled"] if parts else ["real", "post-trained", "shuffled"]
        parts += [made.read(made.clips[0].id, name).pixels_VTHWC[0] for name in names if name in made.columns]
    return parts


def aligned(moving: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """The tasks that have most parts, equally many frames of each, its parts under one another."""
    most = max(map(len, moving.values()))
    filled = {task: parts for task, parts in moving.items() if len(parts) == most}
    frames = min(len(part) for parts in filled.values() for part in parts)
    return {task: np.concatenate([part[:frames] for part in parts], axis=1) for task, parts in filled.items()}


if __name__ == "__main__":
    main()
