"""Training of the nano diffusion decoder at toy size: from rendered clips to a decoder that loads, through a kill."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nano import pretraining, train_decoder
from nano.windows import LATENT
from tests.nano.toy import rendered, run_killed_and_whole
from tests.stages.test_decoder import CHANNELS, add_decoder
from tests.stages.toy_autoregressive import make_base
from worldtune.codecs import nano_tokens
from worldtune.families.diffusion.presets import PRESETS
from worldtune.stages import decoder


def test_a_killed_training_continues_and_ends_in_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = replace(PRESETS["nano-decoder"], width=24, num_blocks=1, num_heads=2, latent_channels=CHANNELS, adaln_rank=4)
    monkeypatch.setitem(PRESETS, "nano-decoder", toy)
    base = make_base(tmp_path / "base")
    latents = add_decoder(base, zero_output=True) / "latents"
    latents = latents.rename(tmp_path / "latents")
    words: dict[str, Any] = {
        "data": rendered(tmp_path / "data"), "tokens": base / "codec", "latents": latents, "clips": 1, "steps": 4,
        "batch_size": 3, "lr": 0.01, "optimizer": "muon", "threads": 1,
    }  # fmt: skip
    monkeypatch.setattr(train_decoder, "Plan", lambda **given: pretraining.Plan(**given, save_every=2))

    def run(name: str) -> None:
        train_decoder.run(argparse.Namespace(**words, out=tmp_path / name))

    run_killed_and_whole(run, "whole", monkeypatch)

    pairs = load_file(tmp_path / "whole" / "train.safetensors")
    assert pairs[LATENT].shape == (3 * 1 * 2 * 2, 5, 8, 8, 2 * CHANNELS), "worlds, clips, mirrored, windows"
    got, wanted = (load_file(tmp_path / name / "network" / "model.safetensors") for name in ("killed", "whole"))
    assert [name for name in wanted if not torch.equal(got[name], wanted[name])] == []
    assert wanted["net.final.proj.weight"].abs().max() > 0, "it has left its zero start"
    made = decoder.load(tmp_path / "whole", nano_tokens.load(base / "codec"))
    assert made.missing_std_RC.shape == (2, CHANNELS)
    assert made.decode(torch.zeros(1, 1, 2, 8, 8, dtype=torch.long)).shape == (1, 1, 5, 64, 64, 3)


def test_the_network_starts_without_effect() -> None:
    model = train_decoder.fresh_model(16)
    assert model.net.final.proj.weight.eq(0).all()
    assert sum(parameter.numel() for parameter in model.parameters()) < 750_000
