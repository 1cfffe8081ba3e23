"""The family's door with the real network at toy size."""

import pytest
import torch

from worldtune.contract import rooms
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.families import diffusion
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.logvariance import DiffusionModel

TOY = NetworkConfig(
    width=32,
    num_blocks=2,
    num_heads=2,
    text_channels=12,
    adaln_rank=8,
    condition_mask=True,
    max_height=8,
    max_width=8,
    max_frames=8,
)


def toy(widths: Widths | None = None) -> DiffusionModel:
    """A network whose zero layers are not zero, so that every input matters."""
    torch.manual_seed(0)
    model = DiffusionModel(TOY, widths or Widths(text=12))
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def batch(size: int = 2, views: int = 2) -> Batch:
    return Batch(
        target=torch.randn(size, views, 3, 4, 4, 16, generator=torch.Generator().manual_seed(1)),
        controls={},
        fps_hz_B=torch.full((size,), 8.0),
        clip_ids=tuple(f"clip{i}" for i in range(size)),
        num_observed_B=torch.arange(size),
    )


def text(rows: int = 4) -> Condition:
    return Condition(text_BVLD=torch.randn(2, 2, rows, 12, generator=torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("bf16", [False, True])
def test_every_weight_learns(bf16):
    model = toy()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        total, parts = diffusion.loss(model, batch(), text(), generator(0, 0, "a"), diffusion.Objective())
    total.backward()
    assert total.dtype == torch.float32
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert set(parts) == {"x0_mse", "weighted", "log_variance", "sigma"}


def test_frames_that_are_not_given_are_not_looked_at():
    model, one = toy(), batch()
    other = batch()
    other.target[0, :, 1:] += 1  # row 0 has no frame given
    settings = diffusion.Sampler(steps=2, guidance=0.0)

    def run(given: Batch) -> torch.Tensor:
        seeds = [generator(i, 0, "s") for i in range(2)]
        return diffusion.sample(model, given, text(), text(), seeds, settings)

    assert torch.equal(run(one), run(other))


def test_null_text_is_the_same_as_rows_of_zeros():
    model = toy(Widths())
    losses = [
        diffusion.loss(model, batch(), condition, generator(0, 0, "a"), diffusion.Objective())[0]
        for condition in (
            Condition(),
            Condition(text_BVLD=torch.zeros(2, 2, 1, 12)),
            Condition(text_BVLD=torch.zeros(2, 2, 7, 12)),
        )
    ]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])
    assert not torch.allclose(
        losses[0], diffusion.loss(model, batch(), text(), generator(0, 0, "a"), diffusion.Objective())[0]
    )


def test_guidance_changes_the_clip_but_not_the_given_frames():
    model = toy()
    null = Condition(text_BVLD=torch.zeros(2, 2, 4, 12))

    def run(guidance: float) -> torch.Tensor:
        seeds = [generator(i, 0, "s") for i in range(2)]
        return diffusion.sample(model, batch(), text(), null, seeds, diffusion.Sampler(steps=2, guidance=guidance))

    plain, guided = run(0.0), run(3.0)
    assert not torch.allclose(plain, guided)
    for out in (plain, guided):
        assert torch.equal(out[1, :, :1], batch().target[1, :, :1])


def test_door_offers_what_the_contract_asks():
    family = rooms.load("families", "diffusion")
    model = toy()
    assert sorted(family.CARRIERS) == ["dense", "frame", "text"]
    assert family.wrap_units(model) == list(model.net.blocks)
    targets = family.adapter_targets(model)
    assert len(targets) == 2 * (4 + 4 + 2)
    assert "net.blocks.1.cross_attention.to_v" in targets
    assert all(isinstance(model.get_submodule(name), torch.nn.Linear) for name in targets)
    assert callable(family.load_base)
