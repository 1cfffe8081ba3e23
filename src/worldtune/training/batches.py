"""From cache to batches. Which clips a step sees is a pure function of (seed, step).

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from worldtune.contract.cache import Cache
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator

IN_MEMORY_BYTES = 2 << 30
"""A cache up to this size is kept in memory once read; a larger one is read from its files every time."""


def order(seed: int, step: int, num_clips: int, batch_size: int) -> list[int]:
    """Positions of the clips that a step sees: a permutation per epoch, laid end to end and cut into batches."""
    first = step * batch_size
    places = range(first, first + batch_size)
    epochs = {place // num_clips for place in places}
    shuffles = {
        epoch: torch.randperm(num_clips, generator=generator(seed, epoch, "order")).tolist() for epoch in epochs
    }
    return [shuffles[place // num_clips][place % num_clips] for place in places]


class Clips:
    """Reads clips of a cache as batches; latents are normalised by the cache's statistics, tokens are as they are."""

    def __init__(self, cache: Cache, controls: Sequence[str]) -> None:
        header = cache.header
        self.cache = cache
        self.arrays = [name for name in header.arrays if name.split("/")[0] in controls]
        self._normalisation = header.normalisation
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._keeps = len(cache) * _num_bytes(cache.tensors(0)) <= IN_MEMORY_BYTES

    def batch(self, indices: Sequence[int]) -> Batch:
        """These clips, in this order."""
        entries = [self._entry(index) for index in indices]
        controls: dict[str, dict[str, Tensor]] = {}
        for name in self.arrays:
            control, array = name.split("/", 1)
            controls.setdefault(control, {})[array] = torch.stack([entry[name] for entry in entries])
        infos = [self.cache.info(index) for index in indices]
        return Batch(
            target=torch.stack([self._target(entry) for entry in entries]),
            controls=controls,
            fps_hz_B=torch.tensor([float(info["fps_hz"]) for info in infos]),
            clip_ids=tuple(info["id"] for info in infos),
        )

    def _entry(self, index: int) -> dict[str, Tensor]:
        if index in self._kept:
            return self._kept[index]
        entry = self.cache.tensors(index)
        if self._keeps:
            self._kept[index] = entry
        return entry

    def _target(self, entry: dict[str, Tensor]) -> Tensor:
        """Latents with zero mean and unit variance, or token ids, int64."""
        if "tokens" in entry:
            return entry["tokens"].long()
        return self._normalisation.normalised(entry["latent"])


def _num_bytes(entry: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in entry.values())


def training_batches(
    clips: Clips, indices: Sequence[int], *, seed: int, batch_size: int, rank: int = 0, num_ranks: int = 1
) -> Callable[[int], Batch]:
    """`batches(step)`: the rows of that step's batch that belong to a process. ValueError when they do not divide."""
    if batch_size % num_ranks:
        raise ValueError(f"loop.batch_size {batch_size} cannot be shared equally by {num_ranks} processes")
    share = batch_size // num_ranks

    def batches(step: int) -> Batch:
        places = order(seed, step, len(indices), batch_size)[rank * share : (rank + 1) * share]
        return clips.batch([indices[place] for place in places])

    return batches


class ReadAhead:
    """Reads the batch of the next step in a thread while this one is computed. Changes no result."""

    def __init__(self, batches: Callable[[int], Batch]) -> None:
        self._batches = batches
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._coming: dict[int, Future[Batch]] = {}

    def __call__(self, step: int) -> Batch:
        now = self._coming.pop(step, None) or self._pool.submit(self._batches, step)
        self._coming = {step + 1: self._pool.submit(self._batches, step + 1)}
        return now.result()

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown(cancel_futures=True)


def rows(batch: Batch, start: int, stop: int) -> Batch:
    """Some rows of a batch."""
    part = slice(start, stop)
    return Batch(
        target=batch.target[part],
        controls={name: {k: v[part] for k, v in arrays.items()} for name, arrays in batch.controls.items()},
        fps_hz_B=batch.fps_hz_B[part],
        clip_ids=batch.clip_ids[part],
        num_observed_B=None if batch.num_observed_B is None else batch.num_observed_B[part],
        observed_BVT=None if batch.observed_BVT is None else batch.observed_BVT[part],
    )


def with_foreign(batch: Batch, control: str) -> Batch:
    """The batch with one control taken from the next clip that has another one: a model that obeys it must do worse.

    A row to which no other differs keeps its own.
    """
    arrays = batch.controls[control]

    def next_other(row: int) -> int:
        following = ((row + step) % batch.size for step in range(1, batch.size))
        differing = (
            other for other in following if any(not torch.equal(value[row], value[other]) for value in arrays.values())
        )
        return next(differing, row)

    others_B = torch.tensor([next_other(row) for row in range(batch.size)])
    foreign = {name: value[others_B.to(value.device)] for name, value in arrays.items()}
    return Batch(
        target=batch.target,
        controls={**batch.controls, control: foreign},
        fps_hz_B=batch.fps_hz_B,
        clip_ids=batch.clip_ids,
        num_observed_B=batch.num_observed_B,
        observed_BVT=batch.observed_BVT,
    )
