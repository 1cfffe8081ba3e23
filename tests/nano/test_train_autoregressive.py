"""Pre-training of the nano transformer at toy size: from rendered clips to a network that loads, through a kill."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nano import pretraining, train_autoregressive
from nano.data import WORLDS
from nano.windows import TOKENS
from tests.stages.toy_autoregressive import NUM_CODES, make_base
from worldtune.contract.condition import Widths
from worldtune.contract.files import read_json
from worldtune.families.autoregressive import load_base
from worldtune.families.autoregressive.presets import NANO


def rendered(folder: Path) -> Path:
    """Two noise clips of 25 frames for every world and split."""
    draw = np.random.default_rng(0)
    for world in WORLDS:
        for split in ("train", "val"):
            (folder / world / split).mkdir(parents=True)
            video = draw.integers(0, 256, (2, 1, 25, 64, 64, 3), dtype=np.uint8)
            np.savez(folder / world / split / "0.npz", video=video, captions=np.array(["a cube", "a door opens"]))
    return folder


def test_a_killed_pretraining_continues_and_ends_in_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = replace(NANO, width=32, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=12, mlp_width=32)
    monkeypatch.setattr(train_autoregressive, "NANO", toy)
    base = make_base(tmp_path / "base")
    words: dict[str, Any] = {
        "data": rendered(tmp_path / "data"), "codec": base / "codec", "text": base / "text", "steps": 4,
        "batch_size": 3, "lr": 0.01, "optimizer": "muon", "report_every": 1, "save_every": 2, "threads": 1,
        "start": None,
    }  # fmt: skip
    save = pretraining.checkpoint.save

    def dying(folder: Path, state: Any, **rest: Any) -> None:
        save(folder, state, **rest)
        if state.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pretraining.checkpoint, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            train_autoregressive.run(argparse.Namespace(**words, out=tmp_path / "killed"))
    for name in ("killed", "whole"):
        train_autoregressive.run(argparse.Namespace(**words, out=tmp_path / name))

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
