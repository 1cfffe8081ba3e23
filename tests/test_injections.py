"""The recipe that compares injections: every variant starts as its base, and every one is trained and heard."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipes import injections
from recipes.injection_variants import (
    FIRST,
    HIDDEN,
    SHIPPED,
    VARIANTS,
    EveryBlock,
    OnDense,
    OnText,
    PartOf,
    Variant,
    built,
)
from tests.data.moving import moving_dataset
from tests.stages import toy_autoregressive
from tests.training import toy_base
from worldtune.contract.cache import Cache
from worldtune.contract.files import read_json
from worldtune.run import Run, compose
from worldtune.stages.base import find_base
from worldtune.stages.prepare import prepare
from worldtune.stages.train_plan import require_base_loss
from worldtune.stages.world import WorldModel
from worldtune.training.batches import Clips

CASES = [(task, family, name) for (task, family), ways in VARIANTS.items() for name in ways]
QUICK = ("loop.batch_size=2", "loop.precision=fp32", "optim.lr=0.05", "sampler.steps=1", "sampler.guidance=0")
TOY = {"diffusion": QUICK, "autoregressive": QUICK[:3]}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of two blocks of each family, and caches with actions and cameras."""
    folder = tmp_path_factory.mktemp("injections")
    moving_dataset(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_base, "NETWORK", replace(toy_base.NETWORK, num_blocks=2))
        patch.setattr(toy_autoregressive, "NETWORK", replace(toy_autoregressive.NETWORK, num_layers=2))
        toy_base.make_base(folder / "diffusion")
        toy_autoregressive.make_base(folder / "autoregressive")
    for family in TOY:
        base = find_base(str(folder / family))
        prepare(folder / "data", folder / f"cache-{family}", base, controls=("text", "action", "camera"), window={})
    return folder


def toy_run(toys: Path, task: str, family: str, variant: Variant) -> Run:
    return compose(
        task=task,
        base=find_base(str(toys / family)),
        data=toys / f"cache-{family}",
        steps=3,
        assignments=(*TOY[family], "loop.validate_every=0", *variant.settings),
    )


@pytest.mark.parametrize(("task", "family", "name"), CASES)
def test_a_variant_starts_as_its_base_and_hears_the_control(toys: Path, task: str, family: str, name: str) -> None:
    variant = VARIANTS[task, family][name]
    run = toy_run(toys, task, family, variant)
    cache = Cache.open(Path(run.data))
    world, clips = built(run, cache, variant, task), Clips(cache, ("text", *run.controls))
    require_base_loss(world, cache, clips.batch(cache.indices("train")[:2]))
    batch = injections.held_out(cache, clips)
    before = injections.scores(world, batch, task, "fp32")
    assert before["own"] == before["foreign"]
    injections.trained(world, cache, clips, "fp32")
    after = injections.scores(world, batch, task, "fp32")
    assert min(abs(own - foreign) for own, foreign in zip(after["own"], after["foreign"], strict=True)) > 1e-6
    assert_entered(world, variant, task)


def assert_entered(world: WorldModel, variant: Variant, task: str) -> None:
    """Every new weight of the variant has moved, and nothing else carries the control."""
    net = getattr(world.network, "net", world.network)
    if variant.carrier != "frame":
        assert isinstance(world.controls[task], {"text": OnText, "dense": OnDense}[variant.carrier])
        assert net.frame_injection is None
    if variant.part == HIDDEN:
        assert net.frame_injection.out.linear.weight.abs().max() > 0
    elif variant.part == FIRST:
        first, second = net.frame_injection.injection.out.weight.unflatten(0, (2, -1)).abs().amax((1, 2))
        assert first > 0
        assert second == 0
    elif variant.part:
        assert isinstance(net.frame_injection, PartOf)
        *early, tokens = net.frame_injection.injection.out.weight.unflatten(0, (5, -1)).flatten(1).abs().amax(1)
        kept, left = (early, [tokens]) if variant.part == "embedding" else ([tokens], early)
        assert min(kept) > 0
        assert max(left) == 0
    if variant.every_block:
        repeated = getattr(net, variant.every_block)
        assert isinstance(repeated, EveryBlock)
        assert len(repeated.injections) == len(net.blocks) == 2
        outs = [getattr(one, "out", None) or one.proj for one in repeated.injections]
        assert all(out.weight.abs().max() > 0 for out in outs)
        assert not torch.equal(outs[0].weight, outs[1].weight)


def test_the_command_continues_and_sums_up(toys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ways = VARIANTS["action", "autoregressive"]
    monkeypatch.setitem(VARIANTS, ("action", "autoregressive"), {name: ways[name] for name in (SHIPPED, "channels")})
    words = ["--task", "action", "--steps", "2", "--base"] + [str(toys / "autoregressive")]
    words += ["--data", str(toys / "cache-autoregressive"), "--out", str(tmp_path / "found.json")]
    words += ["--set", *TOY["autoregressive"], "control.action.reach=false", "--seeds"]
    for seeds in (["0"], ["0", "1"]):
        monkeypatch.setattr(sys, "argv", ["injections", *words, *seeds])
        injections.main()
    found = read_json(tmp_path / "found.json")
    assert all(sorted(runs) == ["0", "1"] for runs in found["runs"].values())
    assert len({tuple(run["base"]) for runs in found["runs"].values() for run in runs.values()}) == 1
    shipped, other = found["summary"][SHIPPED], found["summary"]["channels"]
    gap = other["own"]["value"] - shipped["own"]["value"]
    assert other["minus_shipped"]["value"] == pytest.approx(gap, abs=2e-5)
    monkeypatch.setattr(injections, "measured", None)
    injections.main()
    monkeypatch.setattr(sys, "argv", ["injections", *words, "0", "--steps", "3"])
    with pytest.raises(ValueError, match="another run"):
        injections.main()
