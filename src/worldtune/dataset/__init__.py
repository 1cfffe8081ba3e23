"""The native dataset: LeRobot v3 folders, written and read. The conventions are in docs/data.md."""

from worldtune.dataset.episode import Episode, Source
from worldtune.dataset.reader import Dataset
from worldtune.dataset.window import Dropped, Window, WindowRef
from worldtune.dataset.writer import write_dataset

__all__ = ["Dataset", "Dropped", "Episode", "Source", "Window", "WindowRef", "write_dataset"]
