"""Which clips of a split are made, in which order, and under whose control the shuffled column is."""

import hashlib
from collections.abc import Sequence
from itertools import zip_longest

import torch
from safetensors.torch import save

from worldtune.contract.cache import Cache
from worldtune.contract.randomness import generator


def spread(cache: Cache, split: str) -> list[int]:
    """Clips of a split: one of every episode, then another of each. Within an episode in an order drawn once.

    So few clips show many recordings, and asking for more keeps those that are there. ValueError for an empty split.
    """
    windows: dict[int, list[int]] = {}
    for index in cache.indices(split):
        windows.setdefault(cache.info(index)["episode"], []).append(index)
    drawn = [
        [of_one[place] for place in torch.randperm(len(of_one), generator=generator(0, episode, "clips to make"))]
        for episode, of_one in windows.items()
    ]
    return [index for row in zip_longest(*drawn) for index in row if index is not None]


def to_differ(controls: Sequence[str], num_observed: int) -> Sequence[str]:
    """Of which controls a partner must have another: of any, or of the text where no frame shows what it says."""
    return ("text",) if num_observed == 0 and "text" in controls else controls


def partners_of(cache: Cache, controls: Sequence[str], split: Sequence[int], wanted: Sequence[int]) -> dict[int, int]:
    """For every wanted clip the next one of the split, going round, that differs in one of these controls.

    Of another episode where there is one: clips of the same one have nearly the same control. Empty when a clip finds
    none.
    """
    seen: dict[int, str] = {}

    def control(index: int) -> str:
        if index not in seen:
            arrays = {k: v for k, v in cache.tensors(index).items() if k.split("/")[0] in controls}
            seen[index] = hashlib.sha256(save(arrays)).hexdigest()
        return seen[index]

    partners = {}
    for index in wanted:
        place, episode = split.index(index), cache.info(index)["episode"]
        following = [*split[place + 1 :], *split[:place]]
        following.sort(key=lambda other: cache.info(other)["episode"] == episode)
        found = next((other for other in following if control(other) != control(index)), None)
        if found is None:
            return {}
        partners[index] = found
    return partners
