"""Conditions join, randomness is a pure function, files appear whole."""

from pathlib import Path

import pytest
import torch

from worldtune.contract import rooms
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.files import write_whole
from worldtune.contract.latents import Normalisation
from worldtune.contract.nouns import Coverage
from worldtune.contract.randomness import generator


def test_conditions_join_side_by_side() -> None:
    one = Condition(text_BVLD=torch.ones(2, 1, 3, 8), frame_BVTD=torch.ones(2, 1, 5, 7))
    two = Condition(text_BVLD=torch.zeros(2, 1, 4, 8), frame_BVTD=torch.zeros(2, 1, 5, 2))
    joined = Condition.join([one, two])
    assert joined.widths == Widths(text=8, frame=9) == one.widths + two.widths
    assert joined.text_BVLD is not None
    assert joined.text_BVLD.shape == (2, 1, 7, 8)
    assert joined.widths.carriers == {"text", "frame"}


def test_text_of_two_widths_is_refused() -> None:
    with pytest.raises(ValueError, match="different widths, 8 and 9"):
        Widths(text=8) + Widths(text=9)


def test_randomness_depends_on_all_three_arguments() -> None:
    def draw(*arguments: object) -> float:
        return float(torch.rand((), generator=generator(*arguments)))  # type: ignore[arg-type]

    assert draw(0, 1, "noise") == draw(0, 1, "noise")
    assert len({draw(0, 1, "noise"), draw(1, 1, "noise"), draw(0, 2, "noise"), draw(0, 1, "order")}) == 4


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_until_full() -> None:
        with write_whole(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_until_full()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_latents_are_normalised_frame_by_frame_and_back() -> None:
    rule = Normalisation(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[2.0, 4.0], [5.0, 10.0]]))
    raw_BVTHWC = torch.tensor([[3.0, 6.0], [8.0, -6.0]])[None, None, :, None, None].expand(3, 2, 2, 4, 5, 2)
    seen_BVTHWC = rule.normalised(raw_BVTHWC.half())
    assert seen_BVTHWC.dtype == torch.float32
    assert torch.equal(seen_BVTHWC[0, 0, :, 0, 0], torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    assert torch.equal(rule.raw(seen_BVTHWC), raw_BVTHWC)


def test_coverage_fails_on_what_no_control_explains() -> None:
    fine = Coverage(matched=("a",), reshaped=("x",), new_and_zero=("y",), ignored=("z",))
    fine.require_complete("base")
    with pytest.raises(ValueError, match="base: weights do not fit the network: 1 missing tensors, e.g. b"):
        Coverage(matched=("a",), missing=("b",)).require_complete("base")


def test_rooms_are_found_by_name_and_typos_are_explained() -> None:
    assert "text" in rooms.names("controls")
    with pytest.raises(ValueError, match="no 'difusion' in families: did you mean 'diffusion'"):
        rooms.load("families", "difusion")
