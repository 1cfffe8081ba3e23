"""`worldtune convert`: a foreign layout becomes a LeRobot v3 dataset."""

from pathlib import Path

from worldtune.contract import rooms
from worldtune.dataset import Source, write_dataset


def convert(source: Path, destination: Path, layout: str, *, allow_missing_captions: bool = False) -> Path:
    """Write SOURCE, laid out as `layouts/<layout>` says, as the dataset DESTINATION and return it.

    Nothing appears at DESTINATION, and what was there stays, when something is wrong with SOURCE.
    Raises ValueError naming the file and what was wanted.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ValueError(f"{destination}: exists already; choose another folder or delete it")
    found: Source = rooms.load("layouts", layout).read(source, allow_missing_captions=allow_missing_captions)
    return write_dataset(destination, found.episodes, fps_hz=found.fps_hz, splits=found.splits)
