"""The average against the closed form of EDM2's power function."""

import math

import pytest
import torch
from torch import nn

from worldtune.training.ema import Ema, EmaConfig, decay, gamma_of


@pytest.mark.parametrize(("std", "gamma"), [(0.1, 6.94), (0.05, 16.97), (0.025, 36.99)])
def test_gamma_of_published_widths(std: float, gamma: float) -> None:
    assert gamma_of(std) == pytest.approx(gamma, abs=0.005)


@pytest.mark.parametrize("std", [0.05, 0.1, 0.2])
def test_profile_has_the_width_it_is_named_by(std: float) -> None:
    """Average one-hot vectors: what comes out is the weight of every step."""
    num_steps = 400
    parameter = nn.Parameter(torch.zeros(num_steps))
    ema = Ema({"p": parameter}, EmaConfig(std=std))
    for step in range(1, num_steps + 1):
        parameter.data = nn.functional.one_hot(torch.tensor(step - 1), num_steps).float()
        ema.update(step)
    weights = ema.average["p"].double()
    places = torch.arange(1, num_steps + 1) / num_steps
    mean = (weights * places).sum()
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert math.sqrt((weights * (places - mean) ** 2).sum().item()) == pytest.approx(std, rel=0.01)

    exponent = gamma_of(std) + 1
    closed = places**exponent - (places - 1 / num_steps) ** exponent
    torch.testing.assert_close(weights, closed.double(), atol=1e-5, rtol=1e-3)


def test_first_update_forgets_the_initial_weights() -> None:
    assert decay(6.94, 1) == 0.0


def test_average_is_fp32_and_lent_only_for_a_while() -> None:
    parameter = nn.Parameter(torch.full((2,), 4.0, dtype=torch.bfloat16))
    ema = Ema({"p": parameter}, EmaConfig())
    ema.update(1)
    parameter.data.fill_(8.0)
    assert ema.average["p"].dtype == torch.float32
    with ema.applied():
        assert parameter.tolist() == [4.0, 4.0]
    assert parameter.tolist() == [8.0, 8.0]


def test_zero_turns_it_off() -> None:
    ema = Ema({"p": nn.Parameter(torch.zeros(2))}, EmaConfig(std=0))
    ema.update(1)
    assert ema.average == {}


def test_impossible_width() -> None:
    with pytest.raises(ValueError, match=r"ema\.std"):
        EmaConfig(std=0.5)
