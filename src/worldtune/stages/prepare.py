"""`worldtune prepare`: decode, resample, resize and encode every clip once, into the cache.

Shape legend: B batch, V views, T frames, H W rows and columns, C channels, L text tokens, D width.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from worldtune.contract import rooms
from worldtune.contract.cache import CacheHeader, CacheWriter
from worldtune.contract.nouns import Clip, Grid
from worldtune.contract.protocols import Codec, TextEncoder
from worldtune.dataset import Dataset, Window, WindowRef
from worldtune.stages.base import Base
from worldtune.stages.check import inspect

_MAX_BATCH_PIXELS = 2**21
_MAX_BATCH_CLIPS = 16
_MAX_TEXTS_KEPT = 256


def prepare(dataset: Path, cache: Path, base: Base, *, controls: Sequence[str], window: Mapping[str, Any]) -> Path:
    """Encode every clip of a dataset for a base and return the cache. Killed and started again it continues.

    window: what differs from the base's own window. Raises ValueError, before anything is written, when the dataset
    has a fault, no clip is left, or the folder holds a cache made with another codec, text encoder or window.
    """
    chosen = Window(**{**base.window, **window})
    codec, texts = base.codec(), base.text_encoder()
    report = inspect(dataset, controls, chosen, codec)
    console = Console(stderr=True)
    if not report.ok:
        more = f" ({len(report.faults) - 1} more; see `worldtune check`)" if len(report.faults) > 1 else ""
        raise ValueError(f"{report.faults[0]}{more}")
    report.show(console)
    opened = Dataset.open(dataset)
    encoder = _Encoder(opened, chosen, codec, texts, controls)
    refs, _ = opened.windows(chosen)
    writer = CacheWriter(cache, encoder.header(base.name, refs[0]))
    missing = [ref for ref in refs if opened.clip_id(ref.episode, ref.start_frame) not in writer]
    try:
        with _progress(console) as progress:
            bar = progress.add_task("encode clips", total=len(refs), completed=len(refs) - len(missing))
            for batch in _batches(missing, encoder.batch_size):
                encoder.add(writer, batch)
                progress.advance(bar, len(batch))
        encoder.note_full_texts(console)
        writer.finish([opened.clip_id(ref.episode, ref.start_frame) for ref in refs])
    except OSError as error:
        raise ValueError(_disk_words(error, cache)) from None
    return cache


def _disk_words(error: OSError, cache: Path) -> str:
    reason = "the disk is full" if error.errno == errno.ENOSPC else f"writing failed ({error})"
    return f"{cache}: {reason}; what is encoded stays, free some space and run the same command to continue"


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console)


def _batches(refs: Sequence[WindowRef], size: int) -> Iterator[list[WindowRef]]:
    remaining = iter(refs)
    while batch := list(islice(remaining, size)):
        yield batch


class _Encoder:
    """Turns places in a dataset into entries of a cache."""

    def __init__(
        self, dataset: Dataset, window: Window, codec: Codec, texts: TextEncoder, controls: Sequence[str]
    ) -> None:
        self.dataset, self.window, self.codec, self.texts = dataset, window, codec, texts
        self.rooms = {name: rooms.load("controls", name) for name in controls}
        self.configs = {name: room.Config() for name, room in self.rooms.items()}
        self.grid: Grid = codec.grid(
            views=len(dataset.views), frames=window.num_frames, height_px=window.height_px, width_px=window.width_px
        )
        pixels = len(dataset.views) * window.num_frames * window.height_px * window.width_px
        self.batch_size = max(1, min(_MAX_BATCH_CLIPS, _MAX_BATCH_PIXELS // pixels))
        self._rows_by_text: dict[str, Tensor] = {}
        self._full_texts: set[str] = set()

    def header(self, base: str, example: WindowRef) -> CacheHeader:
        """What all entries share; one clip is read to learn the shapes of the controls."""
        aligned = self._aligned(self._clip(example))
        statistics = () if self.codec.num_codes else self.codec.statistics(self.grid.frames)
        mean_TC, std_TC = [table_TC.tolist() for table_TC in statistics] or ([], [])
        tokens = [self.grid.views, self.texts.max_length, self.texts.width]
        return CacheHeader(
            base=base,
            codec=self.codec.identity,
            text_encoder=self.texts.identity,
            dataset=str(self.dataset.folder.resolve()),
            dataset_identity=self.dataset.identity,
            window=asdict(self.window),
            grid=self.grid,
            controls={name: _alignment_settings(config) for name, config in self.configs.items()},
            arrays={"text/tokens": tokens, **{name: list(array.shape) for name, array in aligned.items()}},
            latent_mean_TC=mean_TC,
            latent_std_TC=std_TC,
        )

    def add(self, writer: CacheWriter, refs: Sequence[WindowRef]) -> None:
        """Encode some clips together and write one entry for each."""
        clips = [self._clip(ref) for ref in refs]
        video_BVTHWC = torch.from_numpy(np.stack([clip.video_VTHWC for clip in clips]))
        encoded_B = self.codec.encode(video_BVTHWC)
        if not torch.isfinite(encoded_B).all():
            raise ValueError(f"clip {clips[0].id} or a neighbour: the codec gave values that are not finite")
        for ref, clip, encoded in zip(refs, clips, encoded_B, strict=True):
            tensors = {**_kept(encoded, self.codec.num_codes), "text/tokens": self._tokens(clip.texts)}
            tensors |= {name: torch.from_numpy(array) for name, array in self._aligned(clip).items()}
            info = {"split": ref.split, "fps_hz": clip.fps_hz, "texts": clip.texts, "views": clip.views}
            writer.add(clip.id, tensors, {**info, "episode": ref.episode, "start": ref.start_frame})

    def _clip(self, ref: WindowRef) -> Clip:
        return self.dataset.read_clip(ref.episode, ref.start_frame, self.window)

    def _aligned(self, clip: Clip) -> dict[str, np.ndarray]:
        """Arrays of all controls, "<control>/<array>"."""
        return {
            f"{name}/{key}": np.ascontiguousarray(array)
            for name, room in self.rooms.items()
            for key, array in room.align(clip, self.grid, self.configs[name]).items()
        }

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        """True rows of the texts of all views, [V,L,D]; a text with fewer rows than another ends in zero rows."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._rows_by_text]:
            if len(self._rows_by_text) > _MAX_TEXTS_KEPT:
                self._rows_by_text.clear()
                new = list(dict.fromkeys(texts))
            self._rows_by_text |= dict(zip(new, self.texts.encode(new), strict=True))
        rows = [self._rows_by_text[text] for text in texts]
        self._full_texts |= {
            text for text, row_LD in zip(texts, rows, strict=True) if len(row_LD) == self.texts.max_length
        }
        tokens_VLD = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return tokens_VLD.to(torch.float16)

    def note_full_texts(self, console: Console) -> None:
        """Say how many texts may have been cut by the text encoder."""
        if count := len(self._full_texts):
            limit = f"all {self.texts.max_length} rows of the text encoder"
            console.print(f"{count} captions fill {limit}; words beyond are not read", soft_wrap=True)


def _kept(encoded: Tensor, num_codes: int | None) -> dict[str, Tensor]:
    """What a codec made of one clip, under the name and in the type in which a cache holds it."""
    if num_codes is None:
        return {"latent": encoded.to(torch.float16)}
    return {"tokens": encoded.to(torch.uint16 if num_codes <= 1 << 16 else torch.uint32)}


def _alignment_settings(config: Any) -> dict[str, Any]:
    """Settings that decide what is cached; dropout belongs to training."""
    return {name: value for name, value in asdict(config).items() if name != "dropout"}
