"""The train stage on a toy base: resume, refusals, what is written, and what dies at the start."""

import dataclasses
import fcntl
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.training.toy_base import make_base, make_cache, toy_run
from worldtune.contract import rooms
from worldtune.contract.cache import Cache
from worldtune.contract.nouns import Coverage
from worldtune.families import diffusion
from worldtune.run import load_run
from worldtune.stages import train_plan
from worldtune.stages.train import train
from worldtune.stages.world import base_world, load_world, weights_path
from worldtune.training import checkpoint
from worldtune.training.log import read_metrics


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    make_base(folder / "base")
    make_cache(folder / "cache", folder / "base")
    return folder


@pytest.fixture(scope="module")
def finished(toy: Path) -> Path:
    return train(toy_run(toy), toy / "whole")


def _copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def _rows(folder: Path) -> list[dict[str, float | str]]:
    timings = {"seconds", "tokens_per_s"}
    return [{name: value for name, value in row.items() if name not in timings} for row in read_metrics(folder)]


def test_killed_run_continues_bit_for_bit(toy: Path, finished: Path) -> None:
    command = [sys.executable, "-m", "tests.training.toy_base", str(toy), "12"]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    killed = toy / "killed"
    assert _rows(killed)[-1]["step"] == 12
    train(toy_run(toy), killed)

    assert _rows(killed) == _rows(finished)
    for run in (killed, finished):
        assert len(_saved(run)) == 3
    for wanted, got in zip(_saved(finished), _saved(killed), strict=True):
        assert wanted.keys() == got.keys()
        assert [name for name, value in wanted.items() if not torch.equal(value, got[name])] == []


def _saved(run: Path) -> list[dict[str, torch.Tensor]]:
    """Raw weights, averaged weights, and the last checkpoint with the optimizer."""
    newest = checkpoint.latest(run / "checkpoints")
    assert newest is not None
    return [load_file(path) for path in (*sorted(run.glob("weights/*")), *newest.glob("*.safetensors"))]


def test_what_a_run_leaves(finished: Path) -> None:
    rows = _rows(finished)
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [0, 8, 16, 20]
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, 21))
    assert {"loss", "loss_with_foreign_text"} <= rows[0].keys()
    assert list(checkpoint.all_steps(finished / "checkpoints"))[-1] == 20
    assert list((finished / "tensorboard").iterdir())
    assert load_run(finished).loop.steps == 20


def test_trained_weights_load(finished: Path, toy: Path) -> None:
    cache = Cache.open(toy / "cache")
    base, raw, ema = base_world(finished, cache), load_world(finished, cache, "raw"), load_world(finished, cache)
    for one, other in ((base, raw), (raw, ema)):
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        assert any(not torch.equal(mine, theirs) for mine, theirs in pairs)


def test_finished_run_says_so(toy: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    assert train(toy_run(toy), finished) == finished
    assert "finished (20 steps)" in " ".join(capsys.readouterr().out.split())
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_changed_settings_are_refused(toy: Path, finished: Path) -> None:
    with pytest.raises(ValueError, match=r"another optim\.lr, seed"):
        train(toy_run(toy, "optim.lr=0.02", seed=1), finished)


def test_a_constant_schedule_can_be_extended(toy: Path, finished: Path, tmp_path: Path) -> None:
    run = _copy(finished, tmp_path)
    train(toy_run(toy, steps=22), run)
    assert [row["step"] for row in _rows(run) if row["kind"] == "train"] == list(range(1, 23))
    with pytest.raises(ValueError, match="cannot be cut to loop.steps 21"):
        train(toy_run(toy, steps=21), run)


def test_a_cosine_cannot_be_extended(toy: Path, tmp_path: Path) -> None:
    train(toy_run(toy, "optim.schedule=cosine", steps=1), tmp_path / "run")
    with pytest.raises(ValueError, match="cosine schedule was planned to end there"):
        train(toy_run(toy, "optim.schedule=cosine", steps=2), tmp_path / "run")


def test_truncated_checkpoint(toy: Path, finished: Path, tmp_path: Path) -> None:
    run = _copy(finished, tmp_path)
    shutil.rmtree(run / "weights")
    newest = checkpoint.latest(run / "checkpoints")
    assert newest is not None
    (shard,) = newest.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(ValueError, match="truncated checkpoint"):
        train(toy_run(toy), run)
    shutil.rmtree(newest)
    train(toy_run(toy), run)
    assert _rows(run) == _rows(finished)


def test_damaged_run(finished: Path, tmp_path: Path) -> None:
    run = _copy(finished, tmp_path)
    path = run / "weights" / "ema.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"ema\.safetensors: damaged or cut short"):
        weights_path(run, "ema")
    with pytest.raises(ValueError, match="--weights must be one of ema, raw, got 'mean'"):
        weights_path(run, "mean")
    (run / "metrics.jsonl").write_text('{"kind": 1}\n{"kind"\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 2 is not valid JSON"):
        read_metrics(run)
    (run / "run.json").write_text('{"task": "general"}')
    with pytest.raises(ValueError, match=r"run\.json: not a run of this version, it has no task, controls, base"):
        load_run(run)


def test_dry_run_writes_nothing(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(toy_run(toy), tmp_path / "run", dry_run=True)
    out = capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    for word in ('"lr": 0.01', "matched", "6 train, 2 val", "parameters", "optimizer", "20 of 2 clips"):
        assert word in out


def test_lora(toy: Path, tmp_path: Path) -> None:
    run = train(toy_run(toy, steps=2, lora=True), tmp_path / "run")
    cache = Cache.open(toy / "cache")
    base, trained = base_world(run, cache).state_dict(), load_world(run, cache).state_dict()
    changed = {name for name, value in base.items() if not torch.equal(value, trained[name])}
    assert changed
    targets = tuple(diffusion.adapter_targets(base_world(run, cache).network))
    assert all(name.removeprefix("network.").removesuffix(".weight") in targets for name in changed)


def test_folder_of_something_else(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="not empty and not a run"):
        train(toy_run(toy), tmp_path)


def test_folder_where_another_process_trains(toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(toy_run(toy, steps=1), folder)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is training in this folder"):
            train(toy_run(toy, steps=1), folder)


def test_nothing_trainable(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is trainable"):
        train(toy_run(toy, "adapter.train=condition"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_refused_start_leaves_the_folder_to_the_right_one(toy: Path, tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()  # killed before the first step
    with pytest.raises(ValueError, match="nothing is trainable"):
        train(toy_run(toy, "adapter.train=condition", steps=1), tmp_path)
    assert not list(tmp_path.iterdir())
    train(toy_run(toy, steps=1), tmp_path)


def test_run_folder_of_other_controls_or_another_family(toy: Path, finished: Path) -> None:
    run = toy_run(toy)
    views = {**run.control, "views": rooms.load("controls", "views").Config()}
    with pytest.raises(ValueError, match="another controls;"):
        train(dataclasses.replace(run, control=views, controls=("text", "views")), finished)
    tokens = rooms.load("families", "autoregressive")
    other = dataclasses.replace(run, family="autoregressive", objective=tokens.Objective(), sampler=tokens.Sampler())
    with pytest.raises(ValueError, match="another family;"):
        train(other, finished)


def test_nothing_held_out(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy / "base", tmp_path / "base")
    shutil.copytree(toy / "cache", tmp_path / "cache")
    index = tmp_path / "cache" / "index.json"
    text = index.read_text()
    index.write_text(text.replace('"val"', '"train"'))
    with pytest.raises(ValueError, match=r"no clip is held out .* --set loop\.validate_every=0"):
        train(toy_run(tmp_path, steps=1), tmp_path / "run")
    train(toy_run(tmp_path, "loop.validate_every=0", steps=1), tmp_path / "run")
    index.write_text(text.replace('"train"', '"val"'))
    with pytest.raises(ValueError, match="no clip in split 'train'; it has val"):
        train(toy_run(tmp_path, steps=1), tmp_path / "run_of_none")


def test_learning_rate_zero(toy: Path) -> None:
    with pytest.raises(ValueError, match=r"optim\.lr must be above 0"):
        toy_run(toy, "optim.lr=0")


def test_cache_of_another_codec(toy: Path, tmp_path: Path) -> None:
    make_base(tmp_path / "base", seed=1)
    shutil.copytree(toy / "cache", tmp_path / "cache")
    with pytest.raises(ValueError, match="made with another codec"):
        train(toy_run(tmp_path), tmp_path / "run")


def test_cache_that_changed(toy: Path, finished: Path, tmp_path: Path) -> None:
    run = _copy(finished, tmp_path)
    index = toy / "cache" / "index.json"
    before = index.read_text()
    index.write_text(before.replace("clip5", "clip4"))
    try:
        with pytest.raises(ValueError, match="has changed since this run began"):
            train(toy_run(toy), run)
    finally:
        index.write_text(before)


def test_base_that_was_not_loaded(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(path: Path, widths: object) -> tuple[nn.Module, Coverage]:
        network, coverage = diffusion.load_base(path, widths)
        return network, Coverage(matched=(), missing=coverage.matched)

    monkeypatch.setattr("worldtune.stages.world.rooms.load", _with_family(empty))
    with pytest.raises(ValueError, match="weights do not fit the network"):
        train(toy_run(toy), tmp_path / "run")


def test_first_loss_that_is_not_the_base_s(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt = train_plan.adapters.adapt

    def spoil(model: nn.Module, *args: object, **kwargs: object) -> None:
        adapt(model, *args, **kwargs)
        with torch.no_grad():
            model.network.net.patch_embed.weight.mul_(1.5)

    monkeypatch.setattr(train_plan.adapters, "adapt", spoil)
    with pytest.raises(ValueError, match="the loss before the first step is .* the base's own is"):
        train(toy_run(toy), tmp_path / "run")


def _with_family(load_base: object) -> object:
    """The real rooms, but a diffusion family with another `load_base`."""
    from types import SimpleNamespace

    from worldtune.contract import rooms

    load = rooms.load

    def patched(kind: str, name: str) -> object:
        room = load(kind, name)
        return SimpleNamespace(**{**vars(room), "load_base": load_base}) if kind == "families" else room

    return patched
