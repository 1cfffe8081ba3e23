"""Checkpoints are whole or refused, and nothing that existed is damaged."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toys import ToyWorld, toy_world
from worldtune.training import checkpoint
from worldtune.training.ema import EmaConfig
from worldtune.training.optim import OptimConfig
from worldtune.training.parallel import Processes
from worldtune.training.state import TrainState

ALONE = Processes()


def _state(seed: int = 0, step: int = 0) -> TrainState:
    state = TrainState.fresh(toy_world(seed), OptimConfig(), EmaConfig())
    state.step = step
    return state


def _save(folder: Path, state: TrainState, loss: float | None = None, keep: int = 2) -> Path:
    return checkpoint.save(folder, state, where=ALONE, validation_loss=loss, keep=keep)


def _only_shard(path: Path) -> Path:
    (shard,) = path.glob("*.safetensors")
    return shard


def test_everything_comes_back(tmp_path: Path) -> None:
    saved = _state(seed=1, step=3)
    for values in saved.optimizer.state.values():
        values["step"].fill_(3)
        values["exp_avg"].normal_()
    saved.model.num_seen.fill_(12)
    path = _save(tmp_path, saved)
    loaded = checkpoint.load(path, _state(seed=2), where=ALONE)
    wanted, got = saved.tree(), loaded.tree()
    assert [name for name in wanted if not torch.equal(wanted[name], got[name])] == []
    assert loaded.step == 3
    assert loaded.model.num_seen == 12
    assert "model/up.weight" in load_file(_only_shard(path))


def test_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "BYTES_PER_FILE", 200)
    saved = _state(seed=1, step=3)
    path = _save(tmp_path, saved)
    assert len(list(path.glob("*.safetensors"))) > 3
    loaded = checkpoint.load(path, _state(seed=2), where=ALONE).tree()
    assert all(torch.equal(value, loaded[name]) for name, value in saved.tree().items())


def test_frozen_weights_stay_with_the_base() -> None:
    world = toy_world()
    world.down.requires_grad_(False)
    tree = TrainState.fresh(world, OptimConfig(), EmaConfig()).tree()
    assert "model/up.weight" in tree
    assert [name for name in tree if "down" in name] == []


def test_newest_and_best_are_kept(tmp_path: Path) -> None:
    for step, loss in ((1, 0.5), (2, 0.1), (3, None), (4, 0.3), (5, 0.4)):
        _save(tmp_path, _state(step=step), loss)
    assert list(checkpoint.all_steps(tmp_path)) == [2, 4, 5]
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert newest.name == "step_00000005"


def test_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none") is None


@pytest.mark.parametrize("size", [0, 100, -1])
def test_truncated(tmp_path: Path, size: int) -> None:
    path = _save(tmp_path, _state(step=3))
    shard = _only_shard(path)
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"{shard.name}: truncated checkpoint, \d+ bytes of \d+; delete"):
        checkpoint.load(path, _state(), where=ALONE)


def test_corrupt(tmp_path: Path) -> None:
    path = _save(tmp_path, _state(step=3))
    shard = _only_shard(path)
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="corrupt checkpoint"):
        checkpoint.load(path, _state(), where=ALONE)


def test_missing_parts(tmp_path: Path) -> None:
    path = _save(tmp_path, _state(step=3))
    _only_shard(path).unlink()
    with pytest.raises(ValueError, match="missing from the checkpoint"):
        checkpoint.load(path, _state(), where=ALONE)
    (path / checkpoint.MANIFEST).unlink()
    with pytest.raises(ValueError, match=r"checkpoint\.json: no such file"):
        checkpoint.load(path, _state(), where=ALONE)


def test_another_size(tmp_path: Path) -> None:
    path = _save(tmp_path, _state(step=3))
    wider = TrainState.fresh(ToyWorld(width=16), OptimConfig(), EmaConfig())
    with pytest.raises(ValueError, match=r"another size: .* is \[.*8.*\] there, \[.*16.*\] in the model"):
        checkpoint.load(path, wider, where=ALONE)


def test_another_model(tmp_path: Path) -> None:
    path = _save(tmp_path, _state(step=3))
    world = toy_world()
    world.down.requires_grad_(False)
    with pytest.raises(ValueError, match="another model: it has an unknown"):
        checkpoint.load(path, TrainState.fresh(world, OptimConfig(), EmaConfig()), where=ALONE)


def test_full_disk_leaves_the_previous_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _save(tmp_path, _state(step=1))
    before = _only_shard(first).read_bytes()

    def full(*args: object, **kwargs: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save", full)
    with pytest.raises(ValueError, match="could not be written .*No space left on device.*step_00000001 is intact"):
        _save(tmp_path, _state(step=2))
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]
    assert _only_shard(first).read_bytes() == before
    checkpoint.load(first, _state(), where=ALONE)


def test_leftovers_of_a_kill_are_swept(tmp_path: Path) -> None:
    for name in (".step_00000001.tmp", ".step_00000000.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shard").write_text("half")
    assert checkpoint.latest(tmp_path) is None
    path = _save(tmp_path, _state(step=2))
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads((path / checkpoint.MANIFEST).read_text())["step"] == 2
