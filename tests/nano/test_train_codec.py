"""Pre-training of a nano codec at toy size: it improves, continues after a kill, and leaves tokens as they were."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

from nano import train_codec
from tests.nano.toy import rendered, run_killed_and_whole
from worldtune.codecs import nano_tokens
from worldtune.contract.files import read_json


def words(tmp_path: Path, **changed: Any) -> argparse.Namespace:
    return argparse.Namespace(**{
        "data": tmp_path / "data", "out": tmp_path / "codec", "levels": "4,4", "start": None, "decoder_only": False,
        "encoder_blocks": 1, "decoder_blocks": 1, "steps": 4, "batch_size": 3, "lr": 1e-3, "save_every": 2,
        "threads": 1, **changed,
    })  # fmt: skip


def test_a_killed_codec_continues_and_its_decoder_learns_on_for_the_same_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered(tmp_path / "data")

    def run(name: str) -> None:
        train_codec.run(words(tmp_path, out=tmp_path / name))

    run_killed_and_whole(run, "codec", monkeypatch)
    assert (tmp_path / "killed" / "model.safetensors").read_bytes() == (
        tmp_path / "codec" / "model.safetensors"
    ).read_bytes()
    assert set(read_json(tmp_path / "codec" / "round_trip.json")["codec_db"]) == {
        "tabletop", "rooms", "street", "codes_used",
    }  # fmt: skip

    further = words(tmp_path, out=tmp_path / "further", start=tmp_path / "codec", decoder_only=True, decoder_blocks=2)
    train_codec.run(further)
    before, after = nano_tokens.load(tmp_path / "codec"), nano_tokens.load(tmp_path / "further")
    video = torch.randint(0, 256, (2, 1, 9, 64, 64, 3), dtype=torch.uint8)
    ids = before.encode(video)
    assert torch.equal(after.encode(video), ids)
    assert not torch.equal(after.decode(ids), before.decode(ids))
