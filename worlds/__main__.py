"""Command line: python -m worlds render tabletop --look base --split train --seed 0 --episodes 500 --out DIR."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from worlds.record import Episode, Settings
from worlds.shards import write_shards


def parser() -> argparse.ArgumentParser:
    """The options of `render`."""
    root = argparse.ArgumentParser(prog="python -m worlds", description="Simulated worlds with exact ground truth.")
    render = root.add_subparsers(dest="command", required=True).add_parser(
        "render", help="render a split of one world",
        epilog="example: python -m worlds render tabletop --split train --seed 0 --episodes 100 --out data/tabletop",
    )  # fmt: skip
    render.add_argument("world", choices=("tabletop", "rooms", "street"))
    render.add_argument("--look", choices=("base", "heldout"), default="base")
    render.add_argument("--split", default="train", help="name of the split; the folder below --out (npz)")
    render.add_argument("--seed", type=int, default=0, help="use another seed for another split")
    render.add_argument("--first", type=int, default=0, help="index of the first episode")
    render.add_argument("--episodes", type=int, default=8, help="number of episodes")
    render.add_argument("--out", type=Path, required=True)
    render.add_argument("--format", choices=("npz",), default="npz")
    render.add_argument("--workers", type=int, default=2, help="processes")
    render.add_argument("--frames", type=int, default=33, help="frames per episode")
    render.add_argument("--size", type=int, default=64, help="edge length in pixels")
    render.add_argument("--fps", type=float, default=10.0, help="frames per second")
    render.add_argument("--cameras", default="front,left,right", help="cameras of the street's rig")
    return root


def with_progress(episodes: Iterable[Episode], total: int, label: str) -> Iterator[Episode]:
    """Pass episodes on and show how far they are."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        yield from progress.track(episodes, total=total, description=label)


def main() -> int:
    """Render; 0 on success, 1 with one sentence on standard error."""
    options = parser().parse_args()
    try:
        from worlds.render import render_split

        settings = Settings(
            look=options.look, num_frames=options.frames, fps_hz=options.fps, size_px=options.size,
            cameras=tuple(options.cameras.split(",")),
        )  # fmt: skip
        wanted = range(options.first, options.first + options.episodes)
        episodes = render_split(options.world, options.seed, wanted, settings, options.workers)
        label = f"{options.world} {options.look} {options.split}"
        count = write_shards(with_progress(episodes, len(wanted), label), options.out / options.split)
    except (ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} episodes in {options.out / options.split}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
