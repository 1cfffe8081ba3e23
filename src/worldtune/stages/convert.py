"""`worldtune convert`: a foreign layout becomes a LeRobot v3 dataset."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from worldtune.contract import rooms
from worldtune.dataset import Episode, Source, write_dataset
from worldtune.stages.counter import Counter
from worldtune.stages.estimate_poses import with_estimated_poses


def convert(
    source: Path,
    destination: Path,
    layout: str,
    *,
    allow_missing_captions: bool = False,
    fps_hz: float | None = None,
    estimate_poses: bool = False,
) -> Path:
    """Write SOURCE, laid out as `layouts/<layout>` says, as the dataset DESTINATION and return it.

    fps_hz: frame rate of recordings whose files do not tell it. estimate_poses: find camera poses and lenses of clips
    of one camera from their frames; clips where that fails are left out and named.
    Nothing appears at DESTINATION, and what was there stays, when something is wrong with SOURCE.
    Raises ValueError naming the file and what was wanted.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: {'a file, wanted the folder of clips' if source.exists() else 'no such folder'}")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{destination}: exists already; choose another folder or delete it")
    reader = rooms.load("layouts", layout)

    def read() -> Source:
        found: Source = reader.read(source, allow_missing_captions=allow_missing_captions, fps_hz=fps_hz)
        return found

    console = Console(stderr=True)
    found = with_estimated_poses(read, console) if estimate_poses else read()
    return write_dataset(destination, _counted(found, console), fps_hz=found.fps_hz, splits=found.splits)


def _counted(found: Source, console: Console) -> Iterator[Episode]:
    """The episodes, with a bar that counts those that are written."""
    with Counter("converting", found.num_episodes, console) as counter:
        for episode in found.episodes:
            yield episode
            counter.add(1)
