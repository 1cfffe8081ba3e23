"""`worldtune prepare`: decode, resample, resize and encode every clip once, into the cache.

Several processes may decode; one, which has the GPU if there is one, encodes and writes.

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

from worldtune.contract.cache import CacheHeader, CacheWriter
from worldtune.contract.protocols import Codec, TextEncoder
from worldtune.dataset import Dataset, Window, WindowRef
from worldtune.stages.base import Base
from worldtune.stages.check import inspect
from worldtune.stages.clip_reader import ClipReader, ReadClip

_MAX_BATCH_PIXELS = 2**21
_MAX_BATCH_CLIPS = 16
_MAX_TEXTS_KEPT = 256


def prepare(
    dataset: Path, cache: Path, base: Base, *, controls: Sequence[str], window: Mapping[str, Any], workers: int = 0
) -> Path:
    """Encode every clip of a dataset for a base and return the cache. Killed and started again it continues.

    window: what differs from the base's own window. workers: further processes that decode; the cache is the same.
    Raises ValueError, before anything is written, when the dataset has a fault, no clip is left, or the folder holds a
    cache made with another codec, text encoder or window.
    """
    if workers < 0:
        raise ValueError(f"--workers must not be negative, got {workers}")
    chosen = Window(**{**base.window, **window})
    codec, texts = base.codec(), base.text_encoder()
    report = inspect(dataset, controls, chosen, codec)
    console = Console(stderr=True)
    if not report.ok:
        more = f" ({len(report.faults) - 1} more; see `worldtune check`)" if len(report.faults) > 1 else ""
        raise ValueError(f"{report.faults[0]}{more}")
    report.show(console)
    opened = Dataset.open(dataset, chosen.cameras)
    grid = codec.grid(
        views=len(opened.views), frames=chosen.num_frames, height_px=chosen.height_px, width_px=chosen.width_px
    )
    reader = ClipReader(dataset=opened, window=chosen, grid=grid, controls=controls)
    encoder = _Encoder(reader, codec, texts)
    refs, _ = opened.windows(chosen)
    writer = CacheWriter(cache, encoder.header(base.name, refs[0]))
    missing = [ref for ref in refs if opened.clip_id(ref.episode, ref.start_frame) not in writer]
    batches = list(_batches(missing, encoder.batch_size))
    try:
        with _progress(console) as progress:
            bar = progress.add_task("encode clips", total=len(refs), completed=len(refs) - len(missing))
            for batch in reader.read_all(batches, min(workers, len(batches))):
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
    """Turns clips into entries of a cache."""

    def __init__(self, reader: ClipReader, codec: Codec, texts: TextEncoder) -> None:
        self.reader, self.codec, self.texts = reader, codec, texts
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        codec.network.to(self.device)
        window, views = reader.window, len(reader.dataset.views)
        pixels = views * window.num_frames * window.height_px * window.width_px
        self.batch_size = max(1, min(_MAX_BATCH_CLIPS, _MAX_BATCH_PIXELS // pixels))
        self._rows_by_text: dict[str, Tensor] = {}
        self._full_texts: set[str] = set()

    def header(self, base: str, example: WindowRef) -> CacheHeader:
        """What all entries share; one clip is read to learn the shapes of the controls."""
        reader, grid = self.reader, self.reader.grid
        aligned = reader.read([example])[0].aligned
        statistics = () if self.codec.num_codes else self.codec.statistics(grid.frames)
        mean_TC, std_TC = [table_TC.tolist() for table_TC in statistics] or ([], [])
        tokens = [grid.views, self.texts.max_length, self.texts.width]
        return CacheHeader(
            base=base,
            codec=self.codec.identity,
            text_encoder=self.texts.identity,
            dataset=str(reader.dataset.folder.resolve()),
            dataset_identity=reader.dataset.identity,
            # Earlier caches know no choice of cameras.
            window={name: value for name, value in asdict(reader.window).items() if value != ()},
            grid=grid,
            controls=sorted(reader.controls),
            arrays={"text/tokens": tokens, **{name: list(array.shape) for name, array in aligned.items()}},
            latent_mean_TC=mean_TC,
            latent_std_TC=std_TC,
        )

    def add(self, writer: CacheWriter, batch: Sequence[ReadClip]) -> None:
        """Encode some clips together and write one entry for each."""
        video_BVTHWC = torch.from_numpy(np.stack([read.clip.video_VTHWC for read in batch]))
        encoded_B = self.codec.encode(video_BVTHWC.to(self.device)).cpu()
        if not torch.isfinite(encoded_B).all():
            raise ValueError(f"clip {batch[0].clip.id} or a neighbour: the codec gave values that are not finite")
        for read, encoded in zip(batch, encoded_B, strict=True):
            clip, ref = read.clip, read.ref
            tensors = {**_kept(encoded, self.codec.num_codes), "text/tokens": self._tokens(clip.texts)}
            tensors |= {name: torch.from_numpy(array) for name, array in read.aligned.items()}
            info = {"split": ref.split, "fps_hz": clip.fps_hz, "texts": clip.texts, "views": clip.views}
            writer.add(clip.id, tensors, {**info, "episode": ref.episode, "start": ref.start_frame})

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
