"""Single-to-multi and subsets of cameras through the stages, on toy bases of both families."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.moving import moving_dataset
from tests.stages import toy_autoregressive
from tests.training import toy_base
from worldtune.contract.files import read_json
from worldtune.metrics.pixels import psnr_db
from worldtune.run import compose
from worldtune.stages.base import find_base
from worldtune.stages.evaluate import evaluate
from worldtune.stages.generate import generate
from worldtune.stages.made_clips import MadeSet
from worldtune.stages.prepare import prepare
from worldtune.stages.train import train

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
        assert not np.array_equal(post[1:], unlike[1:]), "the other views see the given one"
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


def test_a_single_view_has_nobody_to_follow_it(toys: Path, tmp_path: Path) -> None:
    moving_dataset(tmp_path / "one")
    base = find_base(str(toys / "diffusion"))
    cache = prepare(tmp_path / "one", tmp_path / "cache", base, controls=("text",), window={})
    run = compose(task="general", base=base, data=cache, steps=1, assignments=(*TOY, *SAMPLER["diffusion"]))
    train(run, tmp_path / "run")
    with pytest.raises(ValueError, match="--given first-view needs clips of several views"):
        generate(tmp_path / "run", cache, tmp_path / "out", given="first-view")
