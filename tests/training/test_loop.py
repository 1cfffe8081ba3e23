"""The loop: accumulation, when things happen, precision, and stopping on a loss that is not finite."""

import copy
import dataclasses
from collections.abc import Iterator

import pytest
import torch

from tests.training.toys import ToyWorld, toy_batch, toy_batches, toy_world
from worldtune.contract.nouns import Batch
from worldtune.training import loop
from worldtune.training.ema import EmaConfig
from worldtune.training.loop import LoopConfig
from worldtune.training.optim import OptimConfig
from worldtune.training.parallel import ParallelConfig, Processes, wrap
from worldtune.training.precision import resolved_precision
from worldtune.training.state import TrainState
from worldtune.training.validate import validation_losses

Events = list[tuple[str, int]]


def _train(
    world: ToyWorld, loss_fn: loop.LossFn, config: LoopConfig, precision: str = "fp32"
) -> tuple[TrainState, Events, list[dict[str, float]]]:
    events: Events = []
    rows: list[dict[str, float]] = []
    optim = OptimConfig(lr=1e-3)
    state = TrainState.fresh(world, optim, EmaConfig())

    def report(kind: str, step: int, values: dict[str, float]) -> None:
        events.append((kind, step))
        rows.append(values)

    loop.train(
        state,
        toy_batches(config.batch_size),
        loss_fn,
        config=config,
        optim=optim,
        precision=precision,
        seed=0,
        where=Processes(),
        report=report,
        validate=lambda: {"loss": 0.25},
        save=lambda loss: events.append((f"save {loss}", state.step)),
    )
    return state, events, rows


def test_accumulation_equals_the_big_batch() -> None:
    states, losses = [], []
    for accumulate in (1, 2, 4):
        world = toy_world(dropout=0.0)
        state, _, rows = _train(world, world.exact_loss, LoopConfig(steps=3, batch_size=4, accumulate=accumulate))
        states.append(state.model.state_dict())
        losses.append([row["loss"] for row in rows if "grad_norm" in row])
    for state, loss in zip(states[1:], losses[1:], strict=True):
        torch.testing.assert_close(state, states[0])
        assert loss == pytest.approx(losses[0])


def test_when_things_happen() -> None:
    world = toy_world()
    _, events, rows = _train(world, world.loss, LoopConfig(steps=5, batch_size=2, validate_every=2, checkpoint_every=4))
    others = [event for event in events if event[0] != "train"]
    assert others == [
        ("validation", 2),
        ("validation", 4),
        ("save 0.25", 4),
        ("validation", 5),
        ("save 0.25", 5),
    ]
    assert rows[0].keys() == {"loss", "double", "grad_norm", "lr", "seconds", "tokens_per_s"}
    assert rows[0]["double"] == pytest.approx(2 * rows[0]["loss"])


def test_training_lowers_the_loss_in_bf16_over_fp32_weights() -> None:
    world = toy_world(dropout=0.0)
    dtypes = set()

    def loss_fn(batch: Batch, noise: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        dtypes.add(world.up(batch.target).dtype)
        return world.exact_loss(batch, noise)

    state, _, rows = _train(world, loss_fn, LoopConfig(steps=30, batch_size=4, validate_every=0), "bf16")
    losses = [row["loss"] for row in rows]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert dtypes == {torch.bfloat16}
    assert {parameter.dtype for parameter in state.model.parameters()} == {torch.float32}


def test_loss_that_is_not_finite_stops_before_the_weights_change() -> None:
    world = toy_world()
    before = copy.deepcopy(world.state_dict())

    def loss_fn(batch: Batch, noise: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return world.up.weight.sum() * float("nan"), {}

    with pytest.raises(ValueError, match=r"step 1: the loss is not finite .* on clips clip\d"):
        _train(world, loss_fn, LoopConfig(steps=2, batch_size=2))
    assert all(torch.equal(value, before[name]) for name, value in world.state_dict().items())


def test_activation_checkpointing_changes_nothing() -> None:
    results = []
    for on in (False, True):
        world = toy_world()
        wrap(
            world,
            [world.up, world.down],
            ParallelConfig(activation_checkpointing=on),
            Processes(),
            entry="loss",
            bf16=False,
        )
        state, _, _ = _train(world, world.loss, LoopConfig(steps=2, batch_size=2))
        results.append(state.model.state_dict())
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_held_out_batches_of_float16_are_made_in_bf16() -> None:
    state = TrainState.fresh(toy_world(), OptimConfig(), EmaConfig())

    def clips() -> Iterator[Batch]:
        for first in (0, 2):
            batch = toy_batch([first, first + 1])
            half = [shift.half() for shift in batch.controls["toy"]["shift"]]
            yield dataclasses.replace(batch, controls={"toy": {"shift": torch.stack(half)}})

    losses = validation_losses(
        state, clips(), state.model.loss, controls=("toy",), precision="bf16", seed=0, where=Processes()
    )
    assert losses.keys() == {"loss", "loss_with_foreign_toy"}


def test_validation_shows_the_use_of_a_control() -> None:
    world = toy_world(dropout=0.5)
    state = TrainState.fresh(world, OptimConfig(), EmaConfig())
    twice = [
        validation_losses(
            state,
            [toy_batch([0, 1, 2]), toy_batch([3])],
            world.loss,
            controls=["toy"],
            precision="fp32",
            seed=0,
            where=Processes(),
        )
        for _ in range(2)
    ]
    assert twice[0] == twice[1]
    assert twice[0].keys() == {"loss", "loss_with_foreign_toy"}
    assert twice[0]["loss"] != twice[0]["loss_with_foreign_toy"]
    assert world.training
    assert world.num_seen == 0


@pytest.mark.parametrize("bad", [{"steps": 0}, {"keep": 0}, {"validate_every": -1}, {"batch_size": 3, "accumulate": 2}])
def test_bad_settings_die(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"loop.{next(iter(bad))}"):
        LoopConfig(**bad)


def test_precision_is_what_was_asked_for() -> None:
    cpu = torch.device("cpu")
    assert resolved_precision("fp32", cpu) == "fp32"
    assert resolved_precision("bf16", cpu) == "bf16"
    assert resolved_precision("auto", cpu) in {"fp32", "bf16"}
