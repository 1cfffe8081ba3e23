"""The nano text encoder: any text has rows, independent of its neighbours."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune import text
from worldtune.text.nano import NanoTextConfig, NanoTextEncoder, TextNetwork, save, words_of

TOY = NanoTextConfig(width=12, hidden=8, layers=1, heads=2, buckets=64, max_length=5)


def toy_encoder() -> NanoTextEncoder:
    torch.manual_seed(0)
    return NanoTextEncoder(TextNetwork(TOY), "toy")


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gives_one_row_per_word(value: str) -> None:
    (rows,) = toy_encoder().encode([value])
    assert rows.shape == (min(len(words_of(value)), TOY.max_length), TOY.width)
    assert torch.isfinite(rows).all()


def test_rows_do_not_depend_on_neighbours() -> None:
    encoder = toy_encoder()
    alone = encoder.encode(["push the cube"])[0]
    together = encoder.encode(["a", "push the cube", "one two three four five six"])[1]
    assert torch.equal(alone, together)


def test_words_and_order_matter() -> None:
    encoder = toy_encoder()
    left, right, swapped = encoder.encode(["push red left", "push red right", "left red push"])
    assert not torch.allclose(left, right)
    assert not torch.allclose(left.mean(0), swapped.mean(0))


def test_a_caption_of_ten_thousand_characters_is_cut() -> None:
    assert toy_encoder().encode(["word " * 2000])[0].shape == (TOY.max_length, TOY.width)


def test_save_and_load(tmp_path: Path) -> None:
    network = TextNetwork(TOY)
    save(network, tmp_path)
    encoder = text.load(tmp_path)
    assert (encoder.width, encoder.max_length) == (12, 5)
    assert encoder.encode(["push"])[0].shape == (1, 12)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        text.load(tmp_path)
