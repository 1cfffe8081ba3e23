"""`worldtune convert`: a foreign layout becomes a LeRobot v3 dataset."""

from pathlib import Path

from worldtune.contract import rooms
from worldtune.dataset import Source, write_dataset
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
        raise ValueError(f"{source}: no such folder")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{destination}: exists already; choose another folder or delete it")
    reader = rooms.load("layouts", layout)

    def read() -> Source:
        found: Source = reader.read(source, allow_missing_captions=allow_missing_captions, fps_hz=fps_hz)
        return found

    found = with_estimated_poses(read) if estimate_poses else read()
    return write_dataset(destination, found.episodes, fps_hz=found.fps_hz, splits=found.splits)
