"""Few clips show many episodes, and the foreign control is one of another recording."""

from typing import Any, cast

import pytest
import torch

from worldtune.contract.cache import Cache
from worldtune.stages.chosen_clips import partners_of, spread, to_differ


class Rows:
    """A cache of clips (episode, control): as much of one as choosing looks at."""

    def __init__(self, *rows: tuple[int, float]) -> None:
        self.rows = rows

    def indices(self, split: str) -> list[int]:
        assert split == "val"
        return list(range(len(self.rows)))

    def info(self, index: int) -> dict[str, Any]:
        return {"episode": self.rows[index][0]}

    def tensors(self, index: int) -> dict[str, torch.Tensor]:
        return {"action/vectors": torch.tensor([self.rows[index][1]]), "target": torch.tensor([float(index)])}


def cache_of(*rows: tuple[int, float]) -> Cache:
    return cast(Cache, Rows(*rows))


def test_every_episode_comes_once_before_any_comes_twice() -> None:
    cache = cache_of(*[(7, 0.0)] * 10, *[(8, 0.0)] * 3, (9, 0.0))
    order = spread(cache, "val")
    assert sorted(order) == list(range(14))
    assert [cache.info(index)["episode"] for index in order[:7]] == [7, 8, 9, 7, 8, 7, 8]
    assert order == spread(cache, "val"), "more clips may be asked for later"
    assert order[0] != 0 or order[3] != 1, "not all from the start of their episode"


def test_the_foreign_control_is_of_another_episode_where_there_is_one() -> None:
    cache = cache_of((0, 1.0), (0, 2.0), (1, 1.0), (1, 3.0))
    split = [0, 1, 2, 3]
    assert partners_of(cache, ["action"], split, split) == {0: 3, 1: 2, 2: 1, 3: 0}
    alone = cache_of((0, 1.0), (0, 1.0), (0, 2.0))
    assert partners_of(alone, ["action"], [0, 1, 2], [0, 2]) == {0: 2, 2: 0}
    assert partners_of(cache_of((0, 1.0), (1, 1.0)), ["action"], [0, 1], [0]) == {}


@pytest.mark.parametrize(("num_observed", "wanted"), [(1, ("text", "action")), (0, ("text",))])
def test_where_no_frame_is_given_texts_must_differ(num_observed: int, wanted: tuple[str, ...]) -> None:
    assert to_differ(("text", "action"), num_observed) == wanted
