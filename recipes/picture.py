"""Pictures for the documents out of made clips: `python -m recipes.picture OUT docs/NAME [--clips 0 5 9]`.

Writes NAME.png (rows: truth, post-trained, another clip's control, base; frames left to right) and NAME.webp (the same,
moving).
"""

import argparse
from pathlib import Path

import numpy as np

from worldtune.report.film import tiled
from worldtune.report.sheet import animation, contact_sheet
from worldtune.stages.made_clips import MadeSet

ROWS = {"truth": "real", "post-trained": "post-trained", "shuffled": "shuffled", "base": "base"}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder made by `worldtune generate`")
    parser.add_argument("name", type=Path, help="picture without suffix")
    parser.add_argument("--clips", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    made = MadeSet.open(args.out)
    chosen = [made.clips[place] for place in args.clips]
    rows = {row: column for row, column in ROWS.items() if column in made.columns}
    clips = [{row: tiled(made.read(clip.id, column).pixels_VTHWC) for row, column in rows.items()} for clip in chosen]
    stacked = {row: np.concatenate([clip[row] for clip in clips], axis=1) for row in rows}
    print(contact_sheet(clips, args.name.with_suffix(".png")))
    print(animation(stacked, args.name.with_suffix(".webp"), fps_hz=chosen[0].fps_hz / 2, scale=2))


if __name__ == "__main__":
    main()
