"""Views with captions of their own: each is read alone, and exchanged views are found out."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.training.toy_base import make_base
from worldtune.contract.cache import Cache
from worldtune.contract.files import read_json
from worldtune.dataset import Dataset, Episode, Window, write_dataset
from worldtune.metrics import probe
from worldtune.run import compose
from worldtune.stages.base import find_base
from worldtune.stages.evaluate import evaluate
from worldtune.stages.generate import generate
from worldtune.stages.made_clips import MadeSet
from worldtune.stages.prepare import prepare
from worldtune.stages.probes import readers
from worldtune.stages.source import Source
from worldtune.stages.train import train

COLOURS = {"a red wall": (220, 30, 30), "a green wall": (30, 200, 30), "a blue wall": (30, 30, 230)}
FRAMES = 9


def walls(number: int) -> Episode:
    """Two cameras, each before a wall of its own colour."""
    names = list(COLOURS)
    texts = names[number % 3], names[(number + 1 + number // 3 % 2) % 3]
    noise = np.random.default_rng(number).integers(-20, 21, (2, FRAMES, 16, 16, 3))
    videos = [(noise_THWC + COLOURS[text]).clip(0, 255) for noise_THWC, text in zip(noise, texts, strict=True)]
    named = dict(zip(("left", "right"), (video.astype(np.uint8) for video in videos), strict=True))
    return Episode(name=f"walls {number}", videos=named, fps_hz=10.0, texts=texts)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walls")
    make_base(folder / "base")
    episodes = (walls(number) for number in range(15))
    write_dataset(folder / "data", episodes, fps_hz=10, splits={"train": "0:12", "val": "12:15"})
    base = find_base(str(folder / "base"))
    prepare(folder / "data", folder / "cache", base, controls=("text", "views"), window={})
    assignments = ["loop.batch_size=2", "loop.precision=fp32"]
    run = compose(task="multiview", base=base, data=folder / "cache", steps=1, assignments=assignments)
    train(run, folder / "run")
    for given in (0, 1):
        out = folder / f"out-{given}"
        generate(folder / "run", folder / "cache", out, num_clips=3, num_observed=given, assignments=("steps=1",))
    return folder


def test_every_view_is_asked_for_its_own_caption(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "VISITS", 1500)
    made = MadeSet.open(world / "out-0")
    source = Source(cache=Cache.open(world / "cache"), dataset=Dataset.open(world / "data"))
    [reader], skipped = readers(("text",), source, made.clips, Console(quiet=True))
    assert not skipped
    assert reader.choices[0].shape == (3, 8)
    window = Window(num_frames=FRAMES, height_px=16, width_px=16)
    for number, clip in enumerate(made.clips):
        real = source.dataset.read_clip(12 + number, 0, window).video_VTHWC
        assert reader.errors(real, real, clip, clip.id)["text_named"] == 1
        assert reader.errors(real[::-1], real, clip, clip.id)["text_named"] == 0


def test_captions_are_judged_only_where_no_frame_shows_what_they_say(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "VISITS", 100)
    reports = {}
    for given in (0, 1):
        page = evaluate([world / f"out-{given}"]).read_text()
        reports[given] = read_json(world / f"out-{given}" / "report.json")
    assert "text_named" in reports[0]["values"]["post-trained"]
    assert "text_named" not in reports[1]["measures"]
    assert "--num-observed 0" in reports[1]["skipped"]["obedience to text"]
    assert "No measure of obedience to text: captions say what the given frames show" in page
    assert "has no camera.intrinsics" in reports[0]["skipped"]["obedience to views"]
