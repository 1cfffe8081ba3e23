"""What is trained, and that adapters start equal and merge to the same."""

import pytest
import torch

from tests.training.toys import toy_batch, toy_world
from worldtune.training.adapters import AdapterConfig, adapt
from worldtune.training.ema import EmaConfig
from worldtune.training.optim import OptimConfig, trainable
from worldtune.training.state import TrainState

LORA = AdapterConfig(train="lora", rank=2, alpha=4.0)


def test_lora_trains_adapters_and_what_carries_controls() -> None:
    world = toy_world()
    adapt(world, LORA, targets=["up", "down"], condition=["places.weight", "up.bias"], seed=0)
    names = set(trainable(world))
    assert {name for name in names if ".lora_" not in name} == {"places.weight", "up.base_layer.bias"}
    assert {name.split(".lora_")[0] for name in names if ".lora_" in name} == {"up", "down"}


def test_lora_starts_equal_and_the_same_every_time() -> None:
    x = toy_batch([0]).target
    plain, one, other = (toy_world(dropout=0.0) for _ in range(3))
    for world in (one, other):
        adapt(world, LORA, targets=["up", "down"], condition=[], seed=5)
    assert torch.equal(plain(x), one(x))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_merged_weights_equal_the_adapted_model() -> None:
    x = toy_batch([0]).target
    adapted, plain = toy_world(dropout=0.0), toy_world(seed=9, dropout=0.0)
    adapt(adapted, LORA, targets=["up", "down"], condition=[], seed=0)
    with torch.no_grad():
        for name, parameter in trainable(adapted).items():
            parameter.normal_() if "lora_B" in name else None
    state = TrainState.fresh(adapted, OptimConfig(), EmaConfig())
    plain.load_state_dict(state.weights(), strict=True)
    torch.testing.assert_close(plain(x), adapted(x))
    assert (plain(x) - toy_world(dropout=0.0)(x)).abs().max() > 0.1


def test_averaged_weights_are_those_of_the_average() -> None:
    world = toy_world(dropout=0.0)
    adapt(world, LORA, targets=["up"], condition=["down.weight"], seed=0)
    state = TrainState.fresh(world, OptimConfig(), EmaConfig())
    state.ema.average["down.weight"].fill_(2.0)
    own = world.down.weight.detach().clone()
    assert (state.averaged_weights()["down.weight"] == 2.0).all()
    assert torch.equal(world.down.weight, own)


def test_condition_only() -> None:
    world = toy_world()
    adapt(world, AdapterConfig(train="condition"), targets=["up"], condition=["places.weight"], seed=0)
    assert set(trainable(world)) == {"places.weight"}
    with pytest.raises(ValueError, match="nothing is trainable"):
        adapt(world, AdapterConfig(train="condition"), targets=["up"], condition=[], seed=0)


def test_all() -> None:
    world = toy_world()
    adapt(world, AdapterConfig(), targets=["up"], condition=[], seed=0)
    assert len(trainable(world)) == len(list(world.parameters()))


def test_names_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="no layer 'upp'"):
        adapt(toy_world(), LORA, targets=["upp"], condition=[], seed=0)
    with pytest.raises(ValueError, match="no parameter 'place'"):
        adapt(toy_world(), LORA, targets=["up"], condition=["place"], seed=0)
    with pytest.raises(ValueError, match=r"adapter\.rank"):
        AdapterConfig(rank=0)
