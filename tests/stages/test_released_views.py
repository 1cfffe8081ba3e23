"""A released multi-view network (its preset at toy size, NVIDIA's file) goes through the normal commands."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.data.moving import moving_dataset
from tests.diffusion.toy import randomise
from tests.training.toy_base import make_base
from worldtune.contract.cache import Cache
from worldtune.contract.condition import Widths
from worldtune.controls.trajectory import PATH_SCALE
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.presets import PRESETS, preset
from worldtune.families.diffusion.weights import DESCRIPTION, export_nvidia
from worldtune.run import Run, compose
from worldtune.stages.base import find_base
from worldtune.stages.export import export_run
from worldtune.stages.generate import generate
from worldtune.stages.made_clips import MadeSet
from worldtune.stages.prepare import prepare
from worldtune.stages.train import train
from worldtune.stages.world import WorldModel, base_world, load_world
from worldtune.training.batches import Clips

RIG = ("left", "front", "right")
BASE_CAMERAS, REPEATS = [1, 0, 2], [0, 10, 5]
WINDOW = {"num_frames": 9, "fps_hz": 10.0, "height_px": 16, "width_px": 16}
TOY = replace(
    preset("cosmos-7b-video2world-multiview"),
    width=32,
    num_blocks=1,
    num_heads=2,
    latent_channels=4,
    text_channels=8,
    adaln_rank=4,
    max_height=4,
    max_width=4,
    max_frames=4,
    trajectory_numbers=192,
    trajectory_channels=3,
)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """NVIDIA's model.pt without any description, a codec and a text encoder, a dataset and its cache."""
    folder = tmp_path_factory.mktemp("released")
    make_base(folder / "nano")
    model = DiffusionModel(TOY, Widths())
    randomise(model)
    export_nvidia(model.state_dict(), TOY, folder / "network")
    (folder / "network" / DESCRIPTION).unlink()
    moving_dataset(folder / "rig", RIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "toy", TOY)
        base = find_base(str(folder / "network/model.pt"), folder / "nano/codec", folder / "nano/text")
        prepare(folder / "rig", folder / "cache", base, controls=("text", "views", "trajectory"), window=WINDOW)
        yield folder


def the_run(toys: Path, *more: str) -> Run:
    base = find_base(str(toys / "network/model.pt"), toys / "nano/codec", toys / "nano/text")
    words = ["loop.batch_size=2", "loop.precision=fp32", "optim.lr=0.05", "sampler.steps=1", "sampler.guidance=0"]
    words += [f"control.views.base_cameras={BASE_CAMERAS}", f"control.views.frame_repeat={REPEATS}", *more]
    return compose(
        task="multiview_trajectory",
        base=base,
        data=toys / "cache",
        codec=str(toys / "nano/codec"),
        text_encoder=str(toys / "nano/text"),
        steps=1,
        assignments=words,
    )


@pytest.fixture(scope="module")
def trained(toys: Path) -> Path:
    train(the_run(toys), toys / "run")
    return toys / "run"


def told(world: WorldModel, cache: Cache) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the network is given for the two held-out clips: its inputs, and the clips' path arrays."""
    batch = Clips(cache, ("text", "views", "trajectory")).batch(cache.indices("val"))
    batch.num_observed_B = torch.ones(2, dtype=torch.long)
    seen: list[dict[str, Any]] = []
    net = world.network.net
    hook = net.register_forward_pre_hook(lambda _, args, given: seen.append(dict(given)), with_kwargs=True)
    world.sample(batch, [torch.Generator().manual_seed(n) for n in range(2)], world.run.sampler)
    hook.remove()
    return seen[0], batch.controls["trajectory"]


def test_the_controls_fill_the_released_channels(toys: Path, trained: Path) -> None:
    cache = Cache.open(toys / "cache")
    for world in (load_world(trained, cache), base_world(trained, cache)):
        given, path = told(world, cache)
        assert given["camera_BV"].tolist() == [BASE_CAMERAS] * 2
        assert given["frame_repeat_BV"].tolist() == [[0, 1, 0.5]] * 2
        wanted_BK3 = path["path"][:, 0] / torch.tensor(PATH_SCALE)
        assert torch.allclose(given["trajectory_BK"], wanted_BK3.flatten(1))
        assert given["trajectory_BK"].std() > 0


@pytest.mark.parametrize("name", ["camera_BV", "frame_repeat_BV", "trajectory_BK"])
def test_each_released_channel_decides_the_output(toys: Path, trained: Path, name: str) -> None:
    cache = Cache.open(toys / "cache")
    net = base_world(trained, cache).network.net
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 3, 2, 2, 4, generator=generator)
    given, _ = told(base_world(trained, cache), cache)
    with torch.no_grad():
        before, after = (
            net(x, torch.zeros(2), **given),
            net(x, torch.zeros(2), **given | {name: given[name].flip(-1)}),
        )
    assert (before - after).abs().max() > 1e-3


def test_it_trains_generates_and_goes_back(toys: Path, trained: Path, tmp_path: Path) -> None:
    out = generate(trained, toys / "cache", tmp_path / "clips", num_clips=2)
    made = MadeSet.open(out)
    for clip in made.clips:
        post, base, shuffled = (made.read(clip.id, name).pixels_VTHWC for name in ("post-trained", "base", "shuffled"))
        assert post.shape == (3, 9, 16, 16, 3)
        assert not np.array_equal(post, base)
        assert not np.array_equal(post, shuffled), "the trajectory of another clip"
    weights = load_file(trained / "weights/raw.safetensors")
    start = base_world(trained, Cache.open(toys / "cache")).state_dict()
    for name in ("view_channels.identity", "view_channels.repeat.weight", "trajectory_channels.proj.weight"):
        key = f"network.net.{name}"
        assert not torch.equal(weights[key], start[key]), f"{name} is trained"
    export_run(trained, tmp_path / "export", "nvidia")
    names = torch.load(tmp_path / "export/model.pt", weights_only=True)
    assert {"net.view_embeddings.weight", "net.repeat_frame_embedding.weight", "net.traj_embeddings.weight"} <= set(
        names
    )


def test_a_trajectory_network_runs_without_a_trajectory(toys: Path, tmp_path: Path) -> None:
    run = replace(the_run(toys), task="multiview", controls=("text", "views"))
    train(replace(run, control={name: run.control[name] for name in run.controls}), tmp_path / "run")
    cache = Cache.open(toys / "cache")
    batch = Clips(cache, ("text", "views")).batch([0])
    assert load_world(tmp_path / "run", cache).condition(batch, {}).released.trajectory_BK is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("control.views.frame_repeat=[1,2]", r"frame_repeat has 2 numbers, the run has 3 cameras: left, front, right"),
        ("control.views.base_cameras=[0,1,6]", r"the network knows 6 views, got view 7"),
    ],
)
def test_cameras_that_do_not_fit_are_refused(toys: Path, words: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        train(the_run(toys, words), tmp_path / "run")


def test_settings_that_mean_nothing_are_refused(toys: Path) -> None:
    for words, said in (
        ("control.views.base_cameras=[0,0,1]", "must differ"),
        ("control.views.frame_repeat=[0,-1,0]", "must not be negative"),
        ("control.views.view_dropout=1.5", "must be in 0..1"),
    ):
        with pytest.raises(ValueError, match=said):
            the_run(toys, words)
