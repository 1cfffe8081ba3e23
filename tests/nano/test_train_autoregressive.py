"""Pre-training of the nano transformer at toy size: from rendered clips to a network that loads, through a kill."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nano import train_autoregressive
from nano.windows import TOKENS
from tests.nano.toy import rendered, run_killed_and_whole
from tests.stages.toy_autoregressive import NUM_CODES, make_base
from worldtune.contract.condition import Widths
from worldtune.contract.files import read_json
from worldtune.families.autoregressive import load_base
from worldtune.families.autoregressive.presets import NANO


def test_a_killed_pretraining_continues_and_ends_in_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = replace(NANO, width=32, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=12, mlp_width=32)
    monkeypatch.setattr(train_autoregressive, "NANO", toy)
    base = make_base(tmp_path / "base")
    words: dict[str, Any] = {
        "data": rendered(tmp_path / "data"), "codec": base / "codec", "text": base / "text", "steps": 4,
        "batch_size": 3, "lr": 0.01, "optimizer": "muon", "report_every": 1, "save_every": 2, "threads": 1,
        "start": None,
    }  # fmt: skip

    def run(name: str) -> None:
        train_autoregressive.run(argparse.Namespace(**words, out=tmp_path / name))

    run_killed_and_whole(run, "whole", monkeypatch)

    tokens = load_file(tmp_path / "whole" / "train.safetensors")
    assert tokens[TOKENS].shape == (3 * 2 * 3 * 2, 5, 8, 8)
    assert tokens[TOKENS].dtype == torch.int32
    assert 0 <= tokens[TOKENS].min() < tokens[TOKENS].max() < NUM_CODES
    got, wanted = (load_file(tmp_path / name / "network" / "model.safetensors") for name in ("killed", "whole"))
    assert [name for name in wanted if not torch.equal(got[name], wanted[name])] == []
    network, _ = load_base(tmp_path / "whole" / "network", Widths(text=8))
    config = network.config
    assert (config.vocab_size, config.max_frames, config.max_height, config.text_channels) == (NUM_CODES, 5, 8, 8)
    made = read_json(tmp_path / "whole" / "network" / "pretraining.json")
    assert made["optimizer"] == "muon"
    assert {"loss", "cross_entropy", "accuracy"} <= made["validation"].keys()
