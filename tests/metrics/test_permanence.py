"""Object permanence on squares of known colours."""

import numpy as np
import pytest

from worldtune.metrics.permanence import object_permanence, things
from worldtune.metrics.pixels import images

RED, BLUE, GREY = (220, 30, 20), (20, 40, 200), (128, 128, 128)


def clip(*squares: tuple[tuple[int, int, int], list[tuple[int, int] | None]], frames: int = 5) -> np.ndarray:
    """Grey, with squares of 7 px at (row, column) of each frame, or nowhere; uint8 [1,T,48,64,3]."""
    video = np.full((1, frames, 48, 64, 3), GREY, np.uint8)
    for colour, places in squares:
        for frame, place in enumerate(places):
            if place is not None:
                video[0, frame, place[0] : place[0] + 7, place[1] : place[1] + 7] = colour
    return video


STILL = [(10, 10)] * 5
MOVING = [(30, 40 + 2 * frame) for frame in range(5)]
REAL = clip((RED, STILL), (BLUE, MOVING))


def test_things_are_the_squares_not_the_ground() -> None:
    found = things(images(REAL[:, :1])[0])
    assert sorted(map(tuple, found.int().tolist())) == sorted([RED, BLUE])


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (REAL, 1.0),
        (clip((RED, STILL), (BLUE, [(5, 50)] * 5)), 1.0),  # elsewhere, but there
        (clip((RED, STILL)), 0.5),
        (clip((RED, STILL), (BLUE, [*MOVING[:3], None, None])), 0.75),  # gone in two of four frames made
        (clip((RED, STILL), ((90, 100, 150), MOVING)), 0.5),  # faded
        (clip(), 0.0),
    ],
)
def test_what_was_there_is_still_seen(made: np.ndarray, wanted: float) -> None:
    assert object_permanence(made, REAL, 1) == wanted


def test_what_leaves_the_true_clip_is_not_asked_for() -> None:
    real = clip((RED, STILL), (BLUE, [*MOVING[:3], None, None]))
    assert object_permanence(clip((RED, STILL)), real, 1) == pytest.approx(4 / 6)


def test_a_picture_without_things_has_no_permanence() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[:, None], (1, 3, 48, 64, 3))
    assert object_permanence(ramp, ramp, 1) is None


def test_size_does_not_matter() -> None:
    large, gone = (np.repeat(np.repeat(video, 4, 2), 4, 3) for video in (REAL, clip((RED, STILL))))
    assert object_permanence(large, large, 1) == 1
    assert object_permanence(gone, large, 1) == 0.5
