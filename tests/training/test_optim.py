"""Schedule against closed forms, parameter groups, clipping and what dies at the start."""

import math

import pytest
import torch
from torch import nn

from tests.training.toys import toy_world
from worldtune.training.optim import (
    OptimConfig,
    clip_gradients,
    decayed,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    trainable,
)


def test_warmup_is_a_straight_line_to_the_rate() -> None:
    config = OptimConfig(lr=0.5, warmup_steps=5)
    assert [learning_rate(config, step, 20) for step in range(7)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5])


def test_cosine_is_the_closed_form() -> None:
    config = OptimConfig(lr=2.0, warmup_steps=10, schedule="cosine", final_lr_ratio=0.1)
    assert learning_rate(config, 10, 110) == 2.0
    assert learning_rate(config, 60, 110) == pytest.approx(2.0 * 0.55)
    assert learning_rate(config, 85, 110) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(0.75 * math.pi))))
    assert learning_rate(config, 109, 110) > 0.2


@pytest.mark.parametrize(("steps", "warmup"), [(5, 0), (200, 20), (10_000, 100)])
def test_default_warmup_is_a_tenth(steps: int, warmup: int) -> None:
    rates = [learning_rate(OptimConfig(lr=1.0), step, steps) for step in range(min(steps, 200))]
    assert sum(rate < 1 for rate in rates) == max(0, warmup - 1)


def test_warmup_longer_than_the_run() -> None:
    with pytest.raises(ValueError, match="warm-up of 30 steps is longer than the run of 20"):
        learning_rate(OptimConfig(warmup_steps=30), 0, 20)


@pytest.mark.parametrize(
    "bad", [{"lr": 0.0}, {"lr": float("nan")}, {"beta2": 1.0}, {"eps": 0.0}, {"clip_norm": -1.0}, {"warmup_steps": -1}]
)
def test_bad_settings_die(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"optim.{next(iter(bad))}"):
        OptimConfig(**bad)


def test_biases_norms_and_embeddings_do_not_decay() -> None:
    assert decayed(toy_world()) == {"up.weight", "down.weight"}


def test_nothing_trainable() -> None:
    with pytest.raises(ValueError, match="nothing is trainable"):
        make_optimizer(toy_world().requires_grad_(False), OptimConfig())


def test_step_equals_adamw_with_lazy_state() -> None:
    ours, theirs = toy_world(), toy_world()
    config = OptimConfig(lr=0.01)
    optimizer = make_optimizer(ours, config)
    set_learning_rate(optimizer, 0.02)
    names = decayed(theirs)
    groups = [
        {"params": [p], "weight_decay": config.weight_decay if name in names else 0.0}
        for name, p in theirs.named_parameters()
    ]
    reference = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.99))
    for model, stepper in ((ours, optimizer), (theirs, reference)):
        for parameter in model.parameters():
            parameter.grad = torch.linspace(-1, 1, parameter.numel()).view_as(parameter)
        stepper.step()
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, wanted)


def _with_gradients(*gradients: list[float]) -> dict[str, nn.Parameter]:
    parameters = {f"p{number}": nn.Parameter(torch.zeros(len(values))) for number, values in enumerate(gradients)}
    for parameter, values in zip(parameters.values(), gradients, strict=True):
        parameter.grad = torch.tensor(values)
    return parameters


def test_clipping_is_by_the_global_norm() -> None:
    parameters = _with_gradients([3.0, 0.0], [4.0])
    assert clip_gradients(parameters, 1.0, 1) == pytest.approx(5.0)
    torch.testing.assert_close(parameters["p0"].grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(parameters["p1"].grad, torch.tensor([0.8]))


@pytest.mark.parametrize("max_norm", [0.0, 6.0])
def test_short_gradients_are_left_alone(max_norm: float) -> None:
    parameters = _with_gradients([3.0, 0.0], [4.0])
    clip_gradients(parameters, max_norm, 1)
    assert parameters["p1"].grad.tolist() == pytest.approx([4.0])


def test_gradient_that_is_not_finite_names_step_and_parameter() -> None:
    with pytest.raises(ValueError, match="step 7: the gradient of p1 is not finite"):
        clip_gradients(_with_gradients([1.0], [math.nan]), 1.0, 7)


def test_loss_without_gradient() -> None:
    with pytest.raises(ValueError, match="depends on no trainable parameter"):
        clip_gradients(trainable(toy_world()), 1.0, 1)
