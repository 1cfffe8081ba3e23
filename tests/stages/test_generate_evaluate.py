"""Generate and evaluate at toy size: dataset -> cache -> run -> clips -> report, with the real stages."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.moving import moving_episode
from tests.data.recordings import episode
from tests.training.toy_base import make_base
from worldtune.contract.cache import Cache
from worldtune.contract.files import read_json, write_json
from worldtune.dataset import Dataset, Window, write_dataset
from worldtune.run import compose, load_run, sampler_with
from worldtune.stages import generate as generate_module
from worldtune.stages.base import find_base
from worldtune.stages.evaluate import evaluate
from worldtune.stages.generate import generate
from worldtune.stages.made_clips import MEANINGS, Made, MadeSet
from worldtune.stages.prepare import prepare
from worldtune.stages.train import train

FAST = ("steps=2", "guidance=0")
TEXTS = ("push the red cube", "push the blue cube", "a door opens")


def make_run(folder: Path, texts: tuple[str, ...], num_clips: int = 7) -> Path:
    """Everything that generate needs, in a folder; the last three clips are held out."""
    make_base(folder / "base")
    recorded = [episode(9, text=texts[number % len(texts)], first=number) for number in range(num_clips)]
    splits = {"train": f"0:{num_clips - 3}", "val": f"{num_clips - 3}:{num_clips}"}
    write_dataset(folder / "data", recorded, fps_hz=10, splits=splits)
    base = find_base(str(folder / "base"))
    prepare(folder / "data", folder / "cache", base, controls=("text",), window={})
    assignments = ["loop.batch_size=2", "loop.validate_every=1", "loop.precision=fp32", "optim.lr=0.01"]
    run = compose(task="general", base=base, data=folder / "cache", steps=2, assignments=assignments)
    return train(run, folder / "run")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_run(folder, TEXTS)
    return folder


@pytest.fixture(scope="module")
def outs(world: Path) -> list[Path]:
    return [make(world, world / f"out{seed}", seed=seed) for seed in range(2)]


def make(world: Path, out: Path, num_clips: int = 3, seed: int = 0) -> Path:
    return generate(world / "run", world / "cache", out, num_clips=num_clips, seed=seed, assignments=FAST)


def test_every_column_of_every_clip_is_there(world: Path, outs: list[Path]) -> None:
    made, cache = MadeSet.open(outs[0]), Cache.open(world / "cache")
    assert list(made.columns) == list(MEANINGS)
    assert [clip.id for clip in made.clips] == [cache.info(index)["id"] for index in cache.indices("val")]
    for clip in made.clips:
        for column in made.columns:
            found = made.read(clip.id, column)
            assert found.pixels_VTHWC.shape == (1, 9, 16, 16, 3)
            assert found.latent_VTHWC is not None
            assert found.latent_VTHWC.shape == (1, 3, 2, 2, 4)
            assert made.path(clip.id, column).with_suffix(".mp4").stat().st_size > 0
    assert made.settings["sampler"]["steps"] == 2
    assert len(made.settings["weights_hash"]) == 64
    assert (outs[0] / "training.jsonl").read_text() == (world / "run" / "metrics.jsonl").read_text()


def test_sampler_settings_may_be_named_as_for_training(world: Path) -> None:
    run = load_run(world / "run")
    assert sampler_with(run, ["sampler.guidance=1"]) == sampler_with(run, ["guidance=1"]) != run.sampler
    with pytest.raises(ValueError, match=r"--set loop\.steps: unknown key 'loop'"):
        sampler_with(run, ["loop.steps=1"])


def test_a_cache_is_no_run(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cache: not a run \\(no run.json\\); train one with `worldtune train`"):
        generate(world / "cache", world / "cache", tmp_path / "out")


def test_the_columns_are_what_they_say(world: Path, outs: list[Path]) -> None:
    made = MadeSet.open(outs[0])
    clip = made.clips[0]
    columns = {name: made.read(clip.id, name) for name in made.columns}
    window = Window(num_frames=9, height_px=16, width_px=16, fps_hz=10.0)
    real = Dataset.open(world / "data").read_clip(4, 0, window).video_VTHWC
    assert (columns["real"].pixels_VTHWC == real).all()
    assert (columns["copy"].pixels_VTHWC == real[:, :1]).all()
    assert clip.num_observed_frames == 1
    given = columns["real"].latent_VTHWC
    for name in ("post-trained", "base", "shuffled"):
        assert np.allclose(columns[name].latent_VTHWC[:, :1], given[:, :1], atol=2e-2), name
        assert not np.allclose(columns[name].latent_VTHWC[:, 1:], given[:, 1:], atol=0.1), name
    assert (columns["base"].latent_VTHWC != columns["post-trained"].latent_VTHWC).any()
    assert clip.foreign_texts != clip.texts
    assert (columns["shuffled"].latent_VTHWC != columns["post-trained"].latent_VTHWC).any()


@pytest.mark.parametrize(("num_observed", "wanted"), [(1, [0, 1]), (0, [1, 1])])
def test_without_a_given_frame_the_other_clip_has_another_text(
    tmp_path: Path, num_observed: int, wanted: list[int]
) -> None:
    base = find_base(str(make_base(tmp_path / "base")))
    recorded = [replace(moving_episode(number), texts=(TEXTS[which],)) for number, which in enumerate((2, 2, 0, 0, 1))]
    write_dataset(tmp_path / "data", recorded, fps_hz=10, splits={"train": "0:2", "val": "2:5"})
    cache = prepare(tmp_path / "data", tmp_path / "cache", base, controls=("text", "action"), window={})
    assignments = ["loop.batch_size=2", "loop.validate_every=0", "loop.precision=fp32"]
    run = compose(task="action", base=base, data=cache, controls=("text", "action"), steps=1, assignments=assignments)
    train(run, tmp_path / "run")
    out = generate(tmp_path / "run", cache, tmp_path / "out", num_clips=3, num_observed=num_observed, assignments=FAST)
    assert [clip.foreign_texts for clip in MadeSet.open(out).clips[:2]] == [[TEXTS[which]] for which in wanted]


def test_noise_depends_on_seed_and_clip_and_not_on_the_batch(
    world: Path, outs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_module, "BATCH_SIZE", 1)
    alone, together, other = (MadeSet.open(out) for out in (make(world, tmp_path / "out"), *outs))
    for clip in together.clips:
        ours, theirs = alone.read(clip.id, "base").latent_VTHWC, together.read(clip.id, "base").latent_VTHWC
        assert np.allclose(ours, theirs, atol=1e-4)
        assert not np.allclose(theirs, other.read(clip.id, "base").latent_VTHWC, atol=1e-2)


def test_a_killed_generate_continues_and_more_clips_may_be_added(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, calls = MadeSet.add, []

    def dying(self: MadeSet, clip_id: str, column: str, made: Made) -> None:
        calls.append((clip_id, column))
        if len(calls) == 5:
            raise KeyboardInterrupt
        add(self, clip_id, column, made)

    monkeypatch.setattr(MadeSet, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        make(world, tmp_path / "out", num_clips=1)
    with pytest.raises(ValueError, match="run the same `worldtune generate` again"):
        evaluate([tmp_path / "out"])
    make(world, tmp_path / "out", num_clips=1)
    assert len(calls) == 7
    assert calls[4] == calls[5]
    make(world, tmp_path / "out", num_clips=2)
    assert len(calls) == 13
    assert len(MadeSet.open(tmp_path / "out").clips) == 2


def test_columns_of_other_models_stay_when_more_clips_are_made(world: Path, tmp_path: Path) -> None:
    out = make(world, tmp_path / "out", num_clips=1)
    described = read_json(out / "generate.json")
    described["columns"]["theirs"] = "Another model."
    write_json(out / "generate.json", described)
    made = MadeSet.open(make(world, out, num_clips=2))
    assert made.columns["theirs"] == "Another model."
    for clip in made.clips:
        made.add(clip.id, "theirs", made.read(clip.id, "copy"))
    evaluate([out])
    assert read_json(out / "report.json")["values"]["theirs"]["psnr_db"]["num_clips"] == 2


def test_reports_say_how_many_recordings_and_of_which_split(world: Path, tmp_path: Path) -> None:
    run, cache = world / "run", world / "cache"
    evaluate([generate(run, cache, tmp_path / "out", num_clips=2, split="train", assignments=FAST)])
    report = read_json(tmp_path / "out/report.json")
    assert report["subtitle"].startswith("2 training clips of 2 episodes, 1 seed, 1 given frame")
    assert "on 2 training clips, 1 seed" in report["verdict"][0]
    assert [clip.episode for clip in MadeSet.open(tmp_path / "out").clips] == ["0", "1"]


def test_other_settings_in_the_same_folder_are_refused(world: Path, outs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds clips made with another seed"):
        make(world, outs[0], seed=5)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty and not made by"):
        make(world, tmp_path)


def test_bad_wishes_are_named(world: Path, tmp_path: Path) -> None:
    arguments = world / "run", world / "cache", tmp_path / "out"
    with pytest.raises(ValueError, match="--num-clips must be at least 1, got 0"):
        generate(*arguments, num_clips=0)
    with pytest.raises(ValueError, match=r"--num-observed must be in 0\.\.2"):
        generate(*arguments, num_observed=3)
    with pytest.raises(ValueError, match="no clip in split 'test'; it has train, val"):
        generate(*arguments, split="test")
    with pytest.raises(ValueError, match="did you mean 'steps'"):
        generate(*arguments, assignments=["stepz=3"])
    with pytest.raises(ValueError, match="--weights must be one of ema, raw, got 'best'"):
        generate(*arguments, weights="best")
    assert not (tmp_path / "out").exists()


def test_equal_texts_leave_the_shuffled_column_out(tmp_path: Path) -> None:
    make_run(tmp_path, ("the same",), num_clips=5)
    out = make(tmp_path, tmp_path / "out", num_clips=1)
    made = MadeSet.open(out)
    assert "shuffled" not in made.columns
    assert "same control" in made.skipped["shuffled"]
    assert "No column shuffled" in evaluate([out]).read_text()


def test_seeds_are_pooled_and_the_page_says_what_the_json_says(outs: list[Path], tmp_path: Path) -> None:
    page = evaluate(outs, tmp_path)
    report = read_json(tmp_path / "report.json")
    assert page == tmp_path / "report.html"
    assert (report["num_clips"], report["num_seeds"]) == (3, 2)
    assert list(report["measures"]) == ["psnr_db", "dynamic_psnr_db", "ssim", "latent_mse", "fd_own"]
    for column, values in report["values"].items():
        psnr = values["psnr_db"]
        assert len(psnr["per_seed"]) == 2
        assert psnr["value"] == pytest.approx(np.mean(psnr["per_seed"]))
        assert psnr["low"] <= psnr["value"] <= psnr["high"]
        assert psnr["value"] == pytest.approx(np.mean([clip["psnr_db"][column] for clip in report["per_clip"]]))
        assert len(report["per_frame_psnr_db"]["columns"][column]) == 8
        assert f"{psnr['value']:.2f}" in page.read_text()
    gap = report["differences"][0]["values"]["psnr_db"]["value"]
    values = report["values"]
    assert gap == pytest.approx(values["post-trained"]["psnr_db"]["value"] - values["base"]["psnr_db"]["value"])
    assert report["fd_ground"]["num_samples"] == 3 * 2 * 4
    assert "n too small" in report["fd_ground"]["warning"]
    assert {"train loss", "validation loss"} <= report["training"][0].keys()
    assert page.stat().st_size < 1_000_000


def test_clips_of_anybody_can_be_judged(outs: list[Path], tmp_path: Path) -> None:
    out = shutil.copytree(outs[0], tmp_path / "out")
    made = MadeSet.open(out)
    for clip in made.clips:
        made.add(clip.id, "mine", Made(pixels_VTHWC=made.read(clip.id, "real").pixels_VTHWC))
    value = read_json(out / "generate.json")
    value["columns"]["mine"] = "A model of my own."
    (out / "generate.json").write_text(json.dumps(value))
    html = evaluate([out]).read_text()
    values = read_json(out / "report.json")["values"]
    assert values["mine"]["psnr_db"]["value"] == pytest.approx(58.92, abs=0.01)
    assert "latent_mse" not in values["mine"]
    assert "A model of my own." in html


def test_folders_that_do_not_match_are_refused(world: Path, outs: list[Path], tmp_path: Path) -> None:
    fewer = make(world, tmp_path / "fewer", num_clips=1, seed=3)
    with pytest.raises(ValueError, match="hold different clips"):
        evaluate([outs[0], fewer])
    other = shutil.copytree(outs[1], tmp_path / "other")
    value = read_json(other / "generate.json")
    write_json(other / "generate.json", value | {"settings": value["settings"] | {"base": "b"}})
    with pytest.raises(ValueError, match="were made with another base; only seeds are pooled"):
        evaluate([outs[0], other])
    with pytest.raises(ValueError, match="no made clips"):
        evaluate([tmp_path])


def test_a_report_in_place_of_a_file_is_refused_before_judging(outs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(ValueError, match="notes.txt: a file, wanted a folder"):
        evaluate(outs, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "kept"


def test_a_corrupt_clip_is_named(outs: list[Path], tmp_path: Path) -> None:
    out = shutil.copytree(outs[0], tmp_path / "out")
    made = MadeSet.open(out)
    path = made.path(made.clips[1].id, "base")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{path.name}: not a made clip, or corrupt"):
        evaluate([out])
    assert not (out / "report.json").exists()
