"""Reading clips for `prepare`, in this process or in several: decoding and aligning are most of the work beside a GPU.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Items

from worldtune.contract import rooms
from worldtune.contract.nouns import Clip, Grid
from worldtune.dataset import Dataset, Window, WindowRef


@dataclass(frozen=True, kw_only=True)
class ReadClip:
    """A clip with what its controls say."""

    ref: WindowRef
    clip: Clip
    aligned: dict[str, np.ndarray]
    """Arrays of all controls, "<control>/<array>"."""


@dataclass(frozen=True, kw_only=True)
class ClipReader:
    """Reads and aligns clips of a dataset. Can be sent to other processes."""

    dataset: Dataset
    window: Window
    grid: Grid
    controls: Sequence[str]
    """Names of those to align."""

    def read(self, refs: Sequence[WindowRef]) -> list[ReadClip]:
        """Consecutive clips. ValueError naming the file or the clip."""
        found = []
        for _, run in groupby(zip(refs, self._runs(refs), strict=True), lambda pair: pair[1]):
            together = [ref for ref, _ in run]
            starts = [ref.start_frame for ref in together]
            clips = self.dataset.read_clips(together[0].episode, starts, self.window)
            found += [
                ReadClip(ref=ref, clip=clip, aligned=self._aligned(clip))
                for ref, clip in zip(together, clips, strict=True)
            ]
        return found

    def _runs(self, refs: Sequence[WindowRef]) -> list[int]:
        """A number for each clip, the same for those of an episode that follow without a gap."""
        numbers, number, end = [], 0, None
        for ref in refs:
            if end is not None and (ref.episode != end[0] or not 0 <= ref.start_frame <= end[1] + 1):
                number += 1
            numbers.append(number)
            end = ref.episode, self.window.source_frames(ref.start_frame, self.dataset.fps_hz)[-1]
        return numbers

    def _aligned(self, clip: Clip) -> dict[str, np.ndarray]:
        return {
            f"{name}/{key}": np.ascontiguousarray(array)
            for name in self.controls
            for key, array in rooms.load("controls", name).align(clip, self.grid).items()
        }

    def read_all(self, batches: Sequence[Sequence[WindowRef]], workers: int) -> Iterator[list[ReadClip]]:
        """Batch after batch, in order; `workers` processes read ahead, 0 reads here. ValueError as `read`."""
        loader = DataLoader(_Batches(self, batches), batch_size=None, num_workers=workers, collate_fn=_as_it_is)
        for batch in loader:
            if isinstance(batch, ValueError):
                raise batch
            yield batch


class _Batches(Items[Any]):
    """What a DataLoader reads. A fault of the data is passed on as it is, without the worker's traceback."""

    def __init__(self, reader: ClipReader, batches: Sequence[Sequence[WindowRef]]) -> None:
        self.reader, self.batches = reader, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> list[ReadClip] | ValueError:
        try:
            return self.reader.read(self.batches[place])
        except ValueError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch
