"""Obedience end to end at toy size: actions in the dataset, a run, clips, and what the probe says of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.data.recordings import episode
from tests.training.toy_base import make_base
from worldtune.contract.cache import Cache
from worldtune.contract.files import read_json
from worldtune.dataset import write_dataset
from worldtune.metrics import probe
from worldtune.run import compose
from worldtune.stages import probes
from worldtune.stages.base import find_base
from worldtune.stages.evaluate import evaluate
from worldtune.stages.generate import generate
from worldtune.stages.prepare import prepare
from worldtune.stages.train import train
from worldtune.stages.world import load_world

FAST = ("steps=1", "guidance=0")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 5 training and 2 held-out clips, its cache, a run on actions, and made clips."""
    folder = tmp_path_factory.mktemp("world")
    make_base(folder / "base")
    recorded = [episode(9, first=number, text="the same") for number in range(7)]
    write_dataset(folder / "data", recorded, fps_hz=10, splits={"train": "0:5", "val": "5:7"})
    base = find_base(str(folder / "base"))
    prepare(folder / "data", folder / "cache", base, controls=("action",), window={})
    assignments = ["loop.batch_size=2", "loop.validate_every=1", "loop.precision=fp32", "optim.lr=0.01"]
    train(compose(task="action", base=base, data=folder / "cache", steps=1, assignments=assignments), folder / "run")
    generate(folder / "run", folder / "cache", folder / "out", num_clips=2, assignments=FAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "VISITS", 200)
        evaluate([folder / "out"])
    return folder


def test_normalisation_of_the_training_clips_is_in_the_run(world: Path) -> None:
    cache = Cache.open(world / "cache")
    used = np.concatenate(
        [cache.tensors(i)["action/frames"][1:].reshape(-1, 3).numpy() for i in cache.indices("train")]
    )
    for weights in ("raw", "ema"):
        saved = load_file(world / "run" / "weights" / f"{weights}.safetensors")
        assert np.allclose(saved["controls.action.mean_D"], used.mean(0))
        assert np.allclose(saved["controls.action.std_D"], used.std(0))
    assert torch.equal(load_world(world / "run", cache).controls["action"].mean_D, saved["controls.action.mean_D"])


def test_actions_of_another_width_are_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "cache", tmp_path / "cache")
    for path in (tmp_path / "cache" / "entries").iterdir():
        tensors = load_file(path)
        save_file(tensors | {"action/frames": tensors["action/frames"][..., :2].contiguous()}, path)
    header = read_json(tmp_path / "cache" / "header.json")
    header["arrays"]["action/frames"][-1] = 2
    (tmp_path / "cache" / "header.json").write_text(json.dumps(header))
    with pytest.raises(ValueError, match=r"another action control .*mean_D is \[3\], the cache needs \[2\]"):
        load_world(world / "run", Cache.open(tmp_path / "cache"))


def test_every_column_and_the_real_clips_are_read(world: Path) -> None:
    report = read_json(world / "out" / "report.json")
    name = "action_error_std"
    wanted = {"post-trained", "base", "shuffled", "copy", "codec", "shuffled, as told", "real"}
    assert {column for column, values in report["values"].items() if name in values} == wanted
    assert "psnr_db" not in report["values"]["real"]
    assert report["measures"][name]["better"] == "lower"
    assert {one["right"] for one in report["differences"] if name in one["values"]} == {"base", "shuffled", "copy"}
    assert report["per_clip"][0][name].keys() == wanted
    assert report["values"]["real"][name]["value"] > 0
    told, true = (report["values"][column][name]["value"] for column in ("shuffled, as told", "shuffled"))
    assert told != true
    assert report["obedience"]["action"]["measures"] == [name]
    assert report["obedience"]["action"]["num_clips"] + report["obedience"]["action"]["num_held_out"] == 5
    assert any("real clips" in sentence and "control action" in sentence for sentence in report["verdict"])
    page = (world / "out" / "report.html").read_text()
    assert "Obedience to action" in page
    assert "The action probe was trained on" in page


def test_the_probe_is_trained_once_per_cache(world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (world / "cache" / "probe-action" / probe.FILE).exists()

    def never(*arguments: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(probes, "train_probe", never)
    evaluate([world / "out"], tmp_path)
    first, second = (read_json(folder / "report.json")["values"] for folder in (world / "out", tmp_path))
    assert first == second


def test_a_killed_training_leaves_nothing(world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(world / "cache", tmp_path / "cache", ignore=shutil.ignore_patterns("probe-*"))
    out = shutil.copytree(world / "out", tmp_path / "out")
    value = read_json(out / "generate.json")
    value["circumstances"]["data"] = str(tmp_path / "cache")
    (out / "generate.json").write_text(json.dumps(value))

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probes, "train_probe", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate([out])
    assert not list((tmp_path / "cache").glob("*probe*"))


def test_without_the_cache_the_report_says_so(world: Path, tmp_path: Path) -> None:
    out = shutil.copytree(world / "out", tmp_path / "out")
    value = read_json(out / "generate.json")
    value["settings"]["clips_hash"] = "another"
    (out / "generate.json").write_text(json.dumps(value))
    page = evaluate([out]).read_text()
    report = read_json(out / "report.json")
    assert "is not there" in report["skipped"]["obedience to action"]
    assert "action_error_std" not in report["measures"]
    assert "real" not in report["values"]
    assert "No measure of obedience to action: the cache" in page
