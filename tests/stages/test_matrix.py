"""The matrix on a toy base: its table, its results, going on after a cut, and a cell that fails."""

import html
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from recipes import gallery
from tests.data.moving import moving_dataset
from tests.training.toy_base import make_base
from worldtune import __main__ as command_line
from worldtune import tasks
from worldtune.contract.files import read_json
from worldtune.metrics import probe
from worldtune.report.tables import interval
from worldtune.run import compose
from worldtune.stages import matrix as stage
from worldtune.stages import probes
from worldtune.stages import train as train_stage
from worldtune.stages.base import find_base
from worldtune.stages.matrix import Plan

SETTINGS = (
    "loop.batch_size=2",
    "loop.validate_every=0",
    "loop.precision=fp32",
    "sampler.steps=1",
    "sampler.guidance=0",
)
PLANS = {
    name: Plan(sample=sample, epochs={"diffusion": 0.01}, num_clips=2, settings=SETTINGS)
    for name, sample in {"general": "robot", "action": "robot", "camera": "robot"}.items()
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and a sample without cameras' poses."""
    folder = tmp_path_factory.mktemp("matrix")
    make_base(folder / "base")
    moving_dataset(folder / "samples" / "robot", without=("camera.", "ego."))
    return folder


@pytest.fixture(autouse=True)
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tasks whose loop has run."""
    seen: list[str] = []
    run_loop = train_stage._run_loop

    def watched(world, state, plan, *rest):  # noqa: ANN001, ANN002, ANN202
        seen.append(plan.run.task)
        return run_loop(world, state, plan, *rest)

    monkeypatch.setattr(stage, "PLANS", PLANS)
    monkeypatch.setattr(probe, "VISITS", 100)
    monkeypatch.setattr(probes, "READABLE", -float("inf"))  # after 100 visits chance decides what a probe reads
    monkeypatch.setattr(train_stage, "_run_loop", watched)
    return seen


def run(toys: Path) -> list[stage.Cell]:
    return stage.matrix(
        toys / "samples",
        toys / "out",
        task_names=("general", "action"),
        bases=(str(toys / "base"),),
        seeds=(0,),
        results=toys / "results",
    )


def test_a_matrix_that_was_cut_off_goes_on(toys: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = stage.evaluate

    def cut(made: list[Path], folder: Path) -> Path:
        if "action" in str(folder.relative_to(toys)):
            raise KeyboardInterrupt
        return evaluate(made, folder)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "evaluate", cut)
        with pytest.raises(KeyboardInterrupt):
            run(toys)
    assert trained == ["general", "action"]
    assert [path.name for path in (toys / "results").iterdir()] == ["general-diffusion.json"]

    cells = run(toys)
    assert trained == ["general", "action"], "nothing is trained twice"
    assert {path.name for path in (toys / "out").iterdir()} == {"general-base", "action-base", "index.html"}
    overview = (toys / "out" / "index.html").read_text()
    links = set(re.findall(r'href="([^"]+report.html)"', overview))
    assert links == {f"{cell}-base/report/report.html" for cell in ("general", "action")}
    assert all((toys / "out" / link).exists() for link in links)
    assert overview.count("Not yet.") == 4, "the other four tasks"
    for cell in cells:
        assert html.escape(cell.report["verdict"][0]) in overview
    for cell in cells:
        assert cell.report == read_json(toys / "results" / f"{cell.task}-diffusion.json")
        assert cell.report["num_clips"] == 2
    assert cells[1].report["values"]["real"].keys() >= {"action_error_std"}

    console = Console(width=80, record=True)
    console.print(stage.as_table(cells))
    printed = console.export_text()
    assert max(map(len, printed.splitlines())) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed, "a word that was cut"
    psnr, obeyed = printed.split("obedience")
    assert re.findall(r"general|action", psnr) == ["general", "action"]
    for cell in cells:
        values, (gap,) = cell.report["values"], [d for d in cell.report["differences"] if d["right"] == "base"]
        assert f"{values['base']['psnr_db']['value']:.2f} -> {values['post-trained']['psnr_db']['value']:.2f}" in psnr
        assert interval(gap["values"]["psnr_db"], 2, signed=True) in psnr
    assert "general" not in obeyed
    action = next(line for line in obeyed.splitlines() if " action " in line)
    wanted = cells[1].report["values"]["post-trained"]["action_error_std"]["value"]
    assert f" {wanted:.3f} " in action


def test_a_plan_suits_few_clips_and_many() -> None:
    plan = Plan(sample="robot", epochs={"diffusion": 8}, most_steps={"diffusion": 100}, num_clips=2)
    assert [plan.steps("diffusion", clips, batch_size=16) for clips in (1, 80, 4000)] == [1, 40, 100]


def test_the_gallery_shows_every_cell(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(toys)
    monkeypatch.setattr("sys.argv", ["gallery", str(toys / "out"), "--out", str(toys / "docs")])
    gallery.main()
    made = {str(path.relative_to(toys / "docs")) for path in (toys / "docs").rglob("*.webp")}
    assert made == {"gallery.webp", "cells/general-diffusion.webp", "cells/action-diffusion.webp"}
    with Image.open(toys / "docs" / "gallery.webp") as moving:
        assert moving.n_frames > 1


@pytest.mark.parametrize(("tasks", "code"), [(("camera", "general"), 1), (("general",), 0)])
def test_a_cell_that_fails_is_named(
    toys: Path, tasks: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = toys / f"results-{code}"
    words = f"worldtune matrix --samples {toys / 'samples'} --out {toys / 'out'} --results {results} --seeds 0"
    words += f" --base {toys / 'base'}" + "".join(f" --task {task}" for task in tasks)
    monkeypatch.setattr("sys.argv", words.split())
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    assert (stopped.value.code or 0) == code
    printed = capsys.readouterr().out
    assert [path.name for path in results.iterdir()] == ["general-diffusion.json"], "the others are not stopped"
    failures = [line for line in printed.splitlines() if "failed:" in line]
    assert len(failures) == 2 * code, "once when it happens, once below the table"
    assert ("Failed: " in (toys / "out" / "index.html").read_text()) == bool(code)
    for line in failures:
        assert "camera.intrinsics" in line
        assert "the control 'camera' needs this feature" in line


def test_mistakes_are_refused_before_anything_runs(toys: Path, trained: list[str]) -> None:
    base, out = str(toys / "base"), toys / "refused"
    with pytest.raises(ValueError, match="did you mean 'action'"):
        stage.matrix(toys / "samples", out, task_names=("general", "acton"), bases=(base,), seeds=(0,))
    shutil.copytree(base, toys / "other")
    with pytest.raises(ValueError, match="TASK-diffusion.json, and 2 bases are diffusion"):
        stage.matrix(
            toys / "samples",
            out,
            task_names=("general",),
            bases=(base, str(toys / "other")),
            seeds=(0,),
            results=toys / "results-refused",
        )
    assert not out.exists()
    assert trained == []


@pytest.mark.parametrize("name", ["nano-diffusion", "nano-autoregressive"])
def test_training_takes_what_suits_the_task(name: str, tmp_path: Path) -> None:
    base = find_base(name)
    assert set(base.task_settings) < set(tasks.TASKS)
    runs = {task: compose(task=task, base=base, data=tmp_path) for task in tasks.TASKS}
    assert {task for task, run in runs.items() if run.optim.optimizer == "muon"} == set(base.task_settings)
    mine = compose(task="action", base=base, data=tmp_path, assignments=["optim.lr=1e-4"])
    assert (mine.optim.lr, mine.optim.optimizer) == (1e-4, "muon")
    assert mine.sampler.guidance == runs["action"].sampler.guidance
