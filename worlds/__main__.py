"""Command line: python -m worlds render tabletop --episodes 100 --out DIR."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from worlds.record import Episode, Settings


def parser() -> argparse.ArgumentParser:
    """The options of `render` and `sheet`."""
    root = argparse.ArgumentParser(prog="python -m worlds", description="Simulated worlds with exact ground truth.")
    commands = root.add_subparsers(dest="command", required=True)
    sheet = commands.add_parser("sheet", help="contact sheet (PNG) of the first episodes of datasets")
    sheet.add_argument("datasets", type=Path, nargs="+")
    sheet.add_argument("--out", type=Path, required=True)
    render = commands.add_parser(
        "render", help="render a split of one world",
        epilog="example: python -m worlds render tabletop --split train --seed 0 --episodes 100 --out data/tabletop",
    )  # fmt: skip
    render.add_argument("world", choices=("tabletop", "rooms", "street"))
    render.add_argument("--look", choices=("base", "heldout"), default="base")
    render.add_argument("--split", default="train", help="name of the split")
    render.add_argument("--seed", type=int, default=0, help="seed of the split")
    render.add_argument("--first", type=int, default=0, help="index of its first episode")
    render.add_argument("--episodes", type=int, default=8, help="number of its episodes")
    render.add_argument("--val-episodes", type=int, default=0, help="episodes of a second split, val, from seed + 1")
    render.add_argument("--out", type=Path, required=True, help="folder to write")
    render.add_argument(
        "--format", choices=("lerobot", "npz"), default="lerobot",
        help="a LeRobot v3 dataset, or OUT/SPLIT/shard_*.npz with pixels without loss",
    )  # fmt: skip
    render.add_argument("--crf", type=int, default=10, help="h264 quality of a dataset; lower is better and larger")
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


def render(options: argparse.Namespace) -> int:
    """Render every split in turn; the number of episodes."""
    from worlds.render import render_split

    settings = Settings(
        look=options.look, num_frames=options.frames, fps_hz=options.fps, size_px=options.size,
        cameras=tuple(options.cameras.split(",")),
    )  # fmt: skip
    splits = {options.split: (options.seed, range(options.first, options.first + options.episodes))}
    if options.val_episodes:
        splits["val"] = (options.seed + 1, range(options.val_episodes))

    def episodes(name: str) -> Iterator[Episode]:
        seed, wanted = splits[name]
        stream = render_split(options.world, seed, wanted, settings, options.workers)
        return with_progress(stream, len(wanted), f"{options.world} {options.look} {name}")

    if options.format == "npz":
        from worlds.shards import write_shards

        return sum(write_shards(episodes(name), options.out / name) for name in splits)
    from worlds import lerobot

    counts = {name: len(wanted) for name, (_, wanted) in splits.items()}
    everything = chain.from_iterable(map(episodes, splits))
    return lerobot.write(
        options.out, everything, world=options.world, fps_hz=options.fps, splits=counts, crf=options.crf
    )


def main() -> int:
    """Do what was asked; 0 on success, 1 with one sentence on standard error."""
    options = parser().parse_args()
    try:
        if options.command == "sheet":
            from worlds.sheet import contact_sheet

            contact_sheet(options.datasets, options.out)
            return 0
        count = render(options)
    except (ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} episodes in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
