"""Single-to-multi and subsets of cameras through the stages, on toy bases of both families."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.data.moving import moving_dataset
from tests.stages import toy_autoregressive
from tests.training import toy_base
from worldtune.contract.cache import Cache
from worldtune.contract.files import read_json
from worldtune.contract.randomness import generator
from worldtune.metrics.pixels import psnr_db
from worldtune.run import compose
from worldtune.stages.base import find_base
from worldtune.stages.evaluate import evaluate
from worldtune.stages.generate import generate
from worldtune.stages.made_clips import MadeSet
from worldtune.stages.prepare import prepare
from worldtune.stages.train import train
from worldtune.stages.world import WorldModel, load_world, present_views
from worldtune.training.batches import Clips

BASES = {"diffusion": toy_base.make_base, "autoregressive": toy_autoregressive.make_base}
RIG = ("front", "left", "right")
TOY = ("loop.batch_size=2", "loop.precision=fp32", "optim.lr=0.05", "loop.validate_every=1")
SAMPLER = {"diffusion": ("sampler.steps=1", "sampler.guidance=0"), "autoregressive": ()}

every_family = pytest.mark.parametrize("family", BASES)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three cameras; for each family a base, its cache and a run on all views."""
    folder = tmp_path_factory.mktemp("views")
    moving_dataset(folder / "rig", RIG)
    for family, make_base in BASES.items():
        base = find_base(str(make_base(folder / family)))
        prepare(folder / "rig", folder / f"cache-{family}", base, controls=("text", "views"), window={})
        run_of(folder, family, folder / f"run-{family}")
    return folder


def run_of(toys: Path, family: str, out: Path, *assignments: str) -> Path:
    base = find_base(str(toys / family))
    words = (*TOY, *SAMPLER[family], *assignments)
    train(compose(task="multiview", base=base, data=toys / f"cache-{family}", steps=1, assignments=words), out)
    return out


@every_family
def test_the_first_view_may_be_given_whole(toys: Path, family: str, tmp_path: Path) -> None:
    run, cache = toys / f"run-{family}", toys / f"cache-{family}"
    out = generate(run, cache, tmp_path / "out", num_clips=2, given="first-view")
    plain = generate(run, cache, tmp_path / "plain", num_clips=2)
    made, other = MadeSet.open(out), MadeSet.open(plain)
    for clip in made.clips:
        post, copy, codec, real = (
            made.read(clip.id, name).pixels_VTHWC for name in ("post-trained", "copy", "codec", "real")
        )
        assert np.array_equal(post[0], codec[0]), "the given view is the true one, through the codec"
        assert not np.array_equal(post[1:], codec[1:])
        assert np.array_equal(copy[0], real[0])
        assert np.array_equal(copy[1:, 1:], real[1:, :1].repeat(8, axis=1))
        unlike = other.read(clip.id, "post-trained").pixels_VTHWC
        assert not np.array_equal(post[1:], unlike[1:]), f"the other views of {clip.id} see the given one"
    evaluate([out])
    report = read_json(out / "report.json")
    assert report["subtitle"].endswith("the first view whole, 1 training steps")
    first = made.clips[0]
    post, real = (made.read(first.id, name).pixels_VTHWC[1:] for name in ("post-trained", "real"))
    assert report["per_clip"][0]["psnr_db"]["post-trained"] == pytest.approx(psnr_db(post, real, 1))
    assert "--given first-view" in report["commands"][0]
    with pytest.raises(ValueError, match="made with another given"):
        generate(run, cache, out, num_clips=2)
    with pytest.raises(ValueError, match="--given must be one of frames, first-view, got 'second'"):
        generate(run, cache, tmp_path / "no", given="second")


def test_an_interrupted_cache_of_several_views_is_continued(toys: Path, tmp_path: Path) -> None:
    base = find_base(str(toys / "diffusion"))
    words = {"base": base, "controls": ("text", "views"), "window": {}}
    cache = prepare(toys / "rig", tmp_path / "cache", **words)
    (cache / "index.json").unlink()
    assert Cache.open(prepare(toys / "rig", cache, **words)).ids == Cache.open(toys / "cache-diffusion").ids


def test_a_single_view_has_nobody_to_follow_it(toys: Path, tmp_path: Path) -> None:
    moving_dataset(tmp_path / "one")
    base = find_base(str(toys / "diffusion"))
    cache = prepare(tmp_path / "one", tmp_path / "cache", base, controls=("text",), window={})
    run = compose(task="general", base=base, data=cache, steps=1, assignments=(*TOY, *SAMPLER["diffusion"]))
    train(run, tmp_path / "run")
    with pytest.raises(ValueError, match="--given first-view needs clips of several views"):
        generate(tmp_path / "run", cache, tmp_path / "out", given="first-view")


def world_on(toys: Path, run: Path, family: str, views: tuple[str, ...], out: Path) -> WorldModel:
    """The run's model for clips of these cameras."""
    moving_dataset(out / "data", views)
    base = find_base(str(toys / family))
    cache = prepare(out / "data", out / "cache", base, controls=("text", "views"), window={})
    return load_world(run, Cache.open(cache))


@every_family
def test_a_run_with_view_dropout_serves_any_of_its_cameras(toys: Path, family: str, tmp_path: Path) -> None:
    run = run_of(toys, family, tmp_path / "run", "control.views.view_dropout=0.5")
    world = world_on(toys, run, family, ("right", "front"), tmp_path / "two")
    cache = Cache.open(tmp_path / "two/cache")
    batch = Clips(cache, ("text", "views")).batch(cache.indices("val"))
    told = world.condition(batch, {})
    assert told.released.camera_BV is not None
    assert told.released.camera_BV.tolist() == [[2, 0]] * 2
    assert told.dense_BVTHWC is not None
    assert torch.equal(told.dense_BVTHWC[0, :, 0, 0, 0], world.controls["views"].identity[[2, 0]])
    out = generate(run, cache.folder, tmp_path / "out", num_clips=1)
    made = MadeSet.open(out)
    assert made.clips[0].views == ["right", "front"]
    assert made.read(made.clips[0].id, "post-trained").pixels_VTHWC.shape[0] == 2
    strangers = world_on(toys, run, family, ("front", "back"), tmp_path / "other")
    batch = Clips(Cache.open(tmp_path / "other/cache"), ("text", "views")).batch([0])
    with pytest.raises(ValueError, match="trained with the cameras front, left, right, and the clips have front, back"):
        strangers.condition(batch, {})


def test_a_run_without_view_dropout_wants_all_its_cameras(toys: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trained on another views control"):
        world_on(toys, toys / "run-diffusion", "diffusion", ("front", "left"), tmp_path)


@every_family
def test_missing_views_are_seen_nowhere_and_given_ones_have_company(toys: Path, family: str, tmp_path: Path) -> None:
    run = run_of(toys, family, tmp_path / "run", "control.views.view_dropout=1")
    cache = Cache.open(toys / f"cache-{family}")
    world = load_world(run, cache)
    batch = Clips(cache, ("text", "views")).batch([0, 1])
    seen: list[tuple[int, list[int]]] = []
    real_loss = world.family.loss

    def spy(model, batch, condition, generator, config):
        seen.append((batch.target.shape[1], condition.released.camera_BV[0].tolist()))
        assert condition.text_BVLD.shape[1] == condition.dense_BVTHWC.shape[1] == batch.target.shape[1]
        return real_loss(model, batch, condition, generator, config)

    world.family = SimpleNamespace(loss=spy)
    losses = [world.train().loss(batch, generator(0, step, "test"))[0].item() for step in (0, 0, 1, 2, 3, 4, 5)]
    assert losses[0] == losses[1], "which views are missing is a function of the step"
    assert {views for views, _ in seen} == {1}
    assert {camera for _, cameras in seen for camera in cameras} == {0, 1, 2}
    world.eval().loss(batch, generator(0, 0, "test"))
    assert seen[-1] == (3, [0, 1, 2]), "validation is on all views"
    if family == "diffusion":
        world.run = replace(world.run, objective=replace(world.run.objective, first_view_observed=1.0))
        world.train().loss(batch, generator(0, 0, "test"))
        assert seen[-1][0] == 2


def test_views_are_missing_independently() -> None:
    drawn = [tuple(present_views(3, 0.25, 1, generator(0, step, "test"))) for step in range(2000)]
    shares = [np.mean([view in chosen for chosen in drawn]) for view in range(3)]
    assert shares == pytest.approx([0.75] * 3, abs=0.04)
    assert len(set(drawn)) == 7, "every subset but the empty one"
    assert {len(present_views(3, 1.0, 2, generator(0, step, "test"))) for step in range(20)} == {2}
