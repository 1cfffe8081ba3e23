"""Some cameras of a dataset, in an order of one's own."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.moving import moving_dataset
from tests.training.toy_base import make_base
from worldtune.__main__ import app
from worldtune.contract.cache import Cache
from worldtune.dataset import Dataset, Window
from worldtune.stages.base import find_base
from worldtune.stages.check import check
from worldtune.stages.prepare import prepare

RIG = ("front", "left", "left_wrist")
WINDOW = Window(num_frames=5, height_px=16, width_px=16)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rig")
    make_base(folder / "base")
    return moving_dataset(folder / "data", RIG)


def test_clips_show_the_chosen_cameras_and_what_is_recorded_of_them(rig: Path) -> None:
    every, some = Dataset.open(rig), Dataset.open(rig, ("left_wrist", "front"))
    assert some.views == ("left_wrist", "front")
    assert some.features == every.features
    whole, clip = (dataset.read_clip(2, 1, WINDOW) for dataset in (every, some))
    assert np.array_equal(clip.video_VTHWC, whole.video_VTHWC[[2, 0]])
    for name, values in clip.features.items():
        wanted = whole.features[name]
        assert np.array_equal(values, wanted[[2, 0]] if name.startswith("camera.") else wanted), name


def test_the_cache_remembers_them(rig: Path, tmp_path: Path) -> None:
    base = find_base(str(rig.parent / "base"))
    words = {"base": base, "controls": ("text",)}
    made = Cache.open(prepare(rig, tmp_path / "cache", window={"cameras": ("left",)}, **words))
    assert (made.header.grid.views, made.info(0)["views"]) == (1, ["left"])
    assert Dataset.of_cache(made).views == ("left",)
    with pytest.raises(ValueError, match="holds a cache made with another dataset_identity, window, grid"):
        prepare(rig, tmp_path / "cache", window={}, **words)
    assert "cameras" not in Cache.open(prepare(rig, tmp_path / "all", window={}, **words)).header.window


def test_unknown_cameras_and_cameras_without_names_are_told(rig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = find_base(str(rig.parent / "base"))
    report = check(rig, ("text",), base, {"cameras": ("lefd",)})
    assert "has no camera 'lefd': did you mean 'left'?" in str(report.faults[0])
    twice = check(rig, ("text",), base, {"cameras": ("left", "left")})
    assert "cameras must differ" in str(twice.faults[0])
    note = "cameras: front, left, left_wrist; without the control views the model is not told which is which"
    assert note in check(rig, ("text",), base, {}).notes
    assert "cameras: front, left, left_wrist" in check(rig, ("text", "views"), base, {}).notes
    words = ["check", str(rig), "--base", base.name, "--cameras", "left,front", "--height-px", "16", "--stride", "2"]
    with pytest.raises(SystemExit) as stop:
        app(words)
    assert stop.value.code == 0
    assert "cameras: left, front; without" in capsys.readouterr().out
