"""Muon: orthogonal updates, the same steps as torch's, and a resumed run bit for bit."""

from pathlib import Path

import pytest
import torch

from tests.training.toys import toy_batches, toy_world
from worldtune.training import checkpoint
from worldtune.training.ema import EmaConfig
from worldtune.training.loop import LoopConfig, train
from worldtune.training.muon import Muon, orthogonalised, suits
from worldtune.training.optim import OptimConfig, make_optimizer, set_learning_rate
from worldtune.training.parallel import Processes
from worldtune.training.state import TrainState

MUON = OptimConfig(optimizer="muon", lr=1e-2, warmup_steps=1)


def test_singular_values_become_about_one_and_directions_stay() -> None:
    matrices = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ orthogonalised(matrices) @ right.mT
    values = inner.diagonal(dim1=-2, dim2=-1)
    assert 0.6 < values.min() < values.max() < 1.3
    torch.testing.assert_close(inner, torch.diag_embed(values), atol=1e-4, rtol=0)


def test_output_layers_norms_and_adapters_are_left_to_adamw() -> None:
    assert suits(torch.empty(64, 192))
    assert not suits(torch.empty(4096, 192))
    assert not suits(torch.empty(8, 128))
    assert not suits(torch.empty(192))
    world = toy_world()
    optimizer = make_optimizer(world, MUON)
    assert isinstance(optimizer, Muon)
    assert optimizer.group["params"] == [world.up.weight, world.down.weight]
    assert len(optimizer.state) == len(list(world.parameters()))


def test_steps_are_those_of_torch() -> None:
    """Which multiplies in bfloat16, so only about."""
    ours, theirs = toy_world(), toy_world()
    optimizer = make_optimizer(ours, OptimConfig(optimizer="muon", weight_decay=0.1))
    set_learning_rate(optimizer, 0.1)
    matrices = [theirs.up.weight, theirs.down.weight]
    reference = torch.optim.Muon(matrices, lr=0.1, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    draw = torch.Generator().manual_seed(0)
    before = theirs.up.weight.detach().clone()
    for _ in range(3):
        for mine, other in zip((ours.up.weight, ours.down.weight), matrices, strict=True):
            mine.grad = torch.randn(mine.shape, generator=draw)
            other.grad = mine.grad.clone()
        optimizer.step()
        reference.step()
    moved = (theirs.up.weight - before).abs().mean()
    for mine, other in zip((ours.up.weight, ours.down.weight), matrices, strict=True):
        assert (mine - other).abs().mean() < 0.03 * moved


def steps(folder: Path, stop: int, start: Path | None = None) -> TrainState:
    state = TrainState.fresh(toy_world(), MUON, EmaConfig())
    if start:
        checkpoint.load(start, state, where=Processes())
    train(
        state, toy_batches(), state.model.loss, config=LoopConfig(steps=stop, batch_size=4, validate_every=0),
        optim=MUON, precision="fp32", seed=0, where=Processes(), report=lambda *_: None, validate=dict,
        save=lambda _: checkpoint.save(folder, state, where=Processes(), validation_loss=None, keep=1) and None,
    )  # fmt: skip
    return state


def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    steps(tmp_path / "half", 3)
    resumed = steps(tmp_path / "rest", 6, checkpoint.latest(tmp_path / "half")).tree()
    whole = steps(tmp_path / "whole", 6).tree()
    assert any(name.startswith("optimizer/momentum/") for name in whole)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_nothing_for_muon_is_said() -> None:
    world = toy_world()
    for parameter in (world.up.weight, world.down.weight):
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="muon wants hidden matrices"):
        make_optimizer(world, MUON)
    with pytest.raises(ValueError, match=r"optim\.momentum must be in 0\.\.1"):
        OptimConfig(momentum=1.0)
