"""Frames of the long rollouts of `recipes.drift`: `python -m recipes.drift_sheet docs/drift_frames.webp LONG CELLS`.

LONG and CELLS are those of `recipes.drift`, the cells of one task. A row is the truth or a cell, frames from left to
right; a diffusion cell has a second row with a whole window at a time. First episodes, not picked.

Shape legend: T frames, H W rows and columns, C = 3 colours.
"""

import argparse
from pathlib import Path

import numpy as np

from recipes.drift import long_cache, long_clips, rollouts
from worldtune.report.sheet import contact_sheet
from worldtune.run import load_run
from worldtune.stages.steer import open_run

PACES = {"diffusion": {"diffusion": 1, "--chunk 4": 4}, "autoregressive": {"autoregressive": 1}}
"""Family -> row -> latent frames made at a time."""


def rows_of(cell: Path, long: Path, num_clips: int, chunks: int, seed: int) -> dict[str, list[np.ndarray]]:
    """Row name -> first views of every clip, uint8 [T,H,W,3]; the truth is the first row."""
    folder = cell / f"run-{seed}"
    run = load_run(folder)
    cache = long_cache(run, long, cell)
    rows: dict[str, list[np.ndarray]] = {}
    for name, chunk in PACES[run.family].items():
        if chunks % chunk:
            raise ValueError(f"--chunks {chunks}: the row {name!r} needs a multiple of {chunk}")
        steered = open_run(folder, data=cache, seed=seed, pace={"chunk": chunk})
        if not rows:
            rows["truth"] = [clip.video_VTHWC[0] for clip in long_clips(steered, num_clips, chunks)]
        rows[name] = [video_VTHWC[0] for video_VTHWC in rollouts(steered, num_clips, chunks // chunk)[0]]
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("long", type=Path)
    parser.add_argument("cells", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--chunks", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0, help="of the runs, and of the noise")
    args = parser.parse_args()
    rows: dict[str, list[np.ndarray]] = {}
    for cell in args.cells:
        rows |= rows_of(cell, args.long, args.clips, args.chunks, args.seed)
    clips = [{name: videos[place] for name, videos in rows.items()} for place in range(args.clips)]
    print(contact_sheet(clips, args.out, num_frames=9))


if __name__ == "__main__":
    main()
