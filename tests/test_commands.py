"""The command line as a user meets it: the whole way on a shipped sample, help, typos, documented commands."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import typer.main
from safetensors.torch import load_file

from worldtune import __main__ as command_line
from worldtune.dataset import Dataset, Episode, Window, write_dataset
from worldtune.stages.matrix import PLANS

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples/tabletop"
WINDOW = Window(num_frames=33, fps_hz=10.0, height_px=64, width_px=64)
COMMANDS = typer.main.get_command(command_line.app)
NAMES = sorted(COMMANDS.commands)  # type: ignore[attr-defined]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """`worldtune WORDS` in this process; the exit code."""
    monkeypatch.setattr("sys.argv", ["worldtune", *map(str, words)])
    try:
        command_line.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six episodes of the shipped sample: encoding all of them takes too long for a test."""
    shipped = Dataset.open(SAMPLE)
    indices = {split: [one.index for one in shipped.episodes if one.split == split] for split in ("train", "val")}
    chosen = [*indices["train"][:3], *indices["val"][:3]]
    clips = [shipped.read_clip(index, 0, WINDOW) for index in chosen]
    recorded = (
        Episode(
            name=clip.id, videos=dict(zip(clip.views, clip.video_VTHWC, strict=True)), fps_hz=10.0, texts=clip.texts
        )
        for clip in clips
    )
    folder = tmp_path_factory.mktemp("sample") / "tabletop"
    return write_dataset(folder, recorded, fps_hz=10.0, splits={"train": "0:3", "val": "3:6"}, pixel_format="yuv444p")


@pytest.fixture(scope="module")
def cache(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("way") / "cache"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run(monkeypatch, "check", sample, "--task", "general") == 0
        assert run(monkeypatch, "prepare", sample, folder, "--base", "nano-diffusion", "--stride", 32) == 0
    return folder


def train_words(cache: Path, out: Path, *more: object) -> list[object]:
    base = ["train", "--task", "general", "--base", "nano-diffusion", "--data", cache, "--out", out, "--steps", 2]
    return [*base, "--set", "loop.batch_size=2", "--set", "loop.validation_clips=2", *more]


def test_the_whole_way_on_the_shipped_base(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, clips = tmp_path / "run", tmp_path / "clips"
    assert run(monkeypatch, *train_words(cache, trained)) == 0
    assert "loss before training, equal to the base's own" in capsys.readouterr().out
    again = run(monkeypatch, *train_words(cache, trained))
    assert again == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (
        run(monkeypatch, "generate", trained, "--data", cache, "--out", clips, "--num-clips", 2, "--set", "steps=2")
        == 0
    )
    assert run(monkeypatch, "evaluate", clips) == 0
    report = json.loads((clips / "report.json").read_text())
    assert report["num_clips"] == 2
    assert set(report["values"]) == {"post-trained", "base", "shuffled", "codec", "copy"}
    assert (clips / "report.html").stat().st_size > 10_000
    for layout, file in (("nvidia", "model.pt"), ("diffusers", "config.json")):
        assert run(monkeypatch, "export", trained, tmp_path / layout, "--format", layout) == 0
        assert (tmp_path / layout / file).exists()


def test_an_exported_run_is_a_base_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, exported = tmp_path / "run", tmp_path / "exported"
    assert run(monkeypatch, *train_words(cache, trained)) == 0
    assert run(monkeypatch, "export", trained, exported, "--format", "nvidia") == 0
    bases = ROOT / "src/worldtune/bases"
    parts = ["--codec", bases / "nano-video", "--text-encoder", bases / "nano-text"]
    words = train_words(cache, tmp_path / "next", *parts)
    words[words.index("nano-diffusion")] = exported / "model.pt"
    assert run(monkeypatch, *words) == 0
    kept = load_file(trained / "weights/ema.safetensors")
    exported_tensors = torch.load(exported / "model.pt", weights_only=True)
    assert torch.equal(kept["network.net.patch_embed.weight"], exported_tensors["net.x_embedder.proj.1.weight"])


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *train_words(cache, tmp_path / "run", "--dry-run", "--set", "optim.lr=3e-5")) == 0
    printed = capsys.readouterr().out
    assert '"lr": 3e-05' in printed
    assert "parameters" in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "optim.lrr=1"], "did you mean 'lr'"),
        (["--set", "optim.lr=0"], "optim.lr must be above 0"),
        (["--controls", "txet"], "did you mean 'text'"),
        (["--set", "loop.batch_size=many"], "got 'many'"),
        (["--codec", "nano-tokens"], "--codec nano-tokens: the base nano-diffusion brings its own"),
        (["--task", "camera"], "has no camera control, only text; prepare one with --task camera"),
    ],
)
def test_mistakes_cost_one_sentence(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert run(monkeypatch, *train_words(cache, tmp_path / "run", *more)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_typos_in_options_and_bases_are_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "prepare", SAMPLE, tmp_path / "c", "--bass", "nano-diffusion") == 2
    assert "--base" in capsys.readouterr().err
    assert run(monkeypatch, "prepare", SAMPLE, tmp_path / "c", "--base", "nano-difusion") == 1
    assert "did you mean 'nano-diffusion'" in capsys.readouterr().err.replace("\n", " ")


def test_a_place_that_cannot_be_written_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "file"
    place.write_text("mine")
    assert run(monkeypatch, *train_words(cache, place)) == 1
    assert "file: not a directory" in capsys.readouterr().err.replace("\n", "")
    assert place.read_text() == "mine"


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_an_example(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, name, "--help") == 0
    assert f"Example: worldtune {name}" in capsys.readouterr().out


def test_list_names_tasks_and_bases(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "list") == 0
    printed = capsys.readouterr().out
    assert "nano-diffusion" in printed
    assert "multiview_trajectory" in printed


def test_the_demo_is_the_general_cell_of_the_matrix() -> None:
    recipe, plan = (ROOT / "recipes/demo.sh").read_text(), PLANS["general"]
    steps = plan.steps("diffusion", num_train=80, batch_size=16)
    assert f"data=samples/{plan.sample}\n" in recipe
    assert f"steps=${{STEPS:-{steps}}}" in recipe
    assert re.findall(r"--num-clips (\d+)", recipe) == [str(plan.num_clips)]
    assert not plan.window, "the recipe gives none"
    assert not plan.settings, "the recipe gives none"


def documented_commands() -> list[tuple[str, str]]:
    """(file, command line) of every `worldtune ...` line in a code block of a document."""
    found = []
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("recipes/*.sh"),
    ]:
        text = path.read_text().replace("\\\n", " ").replace("$seed", "0").replace("$steps", "1")
        blocks = [text] if path.suffix == ".sh" else re.findall(r"```(?:bash|sh)?\n(.*?)```", text, re.DOTALL)
        for line in "\n".join(blocks).splitlines():
            if match := re.search(r"(?:^\s*|-m )worldtune (\S.*)", line):
                # A shell splits a variable without quotes into any number of words, or none.
                found.append((path.name, re.sub(r"(?<=\s)\$\w+(?=\s|$)", "", match.group(1))))
    return found


@pytest.mark.parametrize(("file", "line"), documented_commands())
def test_documented_commands_are_spelled_right(file: str, line: str) -> None:
    name, *words = shlex.split(line, comments=True)
    command = COMMANDS.commands[name]  # type: ignore[attr-defined]
    command.make_context(name, words)
