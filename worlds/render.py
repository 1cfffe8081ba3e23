"""Render a split of a world, on several processes, in order."""

import multiprocessing
from collections.abc import Iterator
from functools import partial

from worlds import rooms, street, tabletop
from worlds.record import Episode, Settings

WORLDS = {"tabletop": tabletop.episode, "rooms": rooms.episode, "street": street.episode}


def render_episode(world: str, seed: int, settings: Settings, index: int) -> Episode:
    """One episode; a pure function of its arguments."""
    return WORLDS[world](seed, index, settings)


def render_split(world: str, seed: int, episodes: range, settings: Settings, num_workers: int) -> Iterator[Episode]:
    """Yield the episodes in order. More than one worker renders on as many processes."""
    make = partial(render_episode, world, seed, settings)
    if num_workers <= 1:
        yield from map(make, episodes)
        return
    # Fresh interpreters: a forked OpenGL context does not work.
    with multiprocessing.get_context("spawn").Pool(num_workers) as pool:
        yield from pool.imap(make, episodes)
