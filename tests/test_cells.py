"""Every task on every family, end to end through the stages, on toy bases and recordings of a few frames.

Shape legend: V views, T frames.
"""

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.data.moving import moving_dataset, moving_episode
from tests.stages import toy_autoregressive
from tests.training import toy_base
from worldtune.contract.cache import Cache
from worldtune.contract.files import read_json
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.metrics import probe
from worldtune.run import Run, compose
from worldtune.stages import train as train_stage
from worldtune.stages.base import Base, find_base
from worldtune.stages.evaluate import evaluate
from worldtune.stages.generate import generate
from worldtune.stages.made_clips import MEANINGS, MadeSet
from worldtune.stages.prepare import prepare
from worldtune.stages.train_plan import require_base_loss
from worldtune.stages.world import WorldModel, assemble, base_world, load_world
from worldtune.tasks import TASKS
from worldtune.text import nano as nano_text
from worldtune.training.batches import Clips
from worldtune.training.log import read_metrics

BASES = {"diffusion": toy_base.make_base, "autoregressive": toy_autoregressive.make_base}
SAMPLER = {"diffusion": ("sampler.steps=1", "sampler.guidance=0"), "autoregressive": ()}
TOY = ("loop.batch_size=2", "loop.checkpoint_every=1", "loop.precision=fp32", "optim.lr=0.05")
CONTROLS = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.controls))
RIG = ("front", "left")
EXACT = 1e-6
"""A control that enters through zeros changes no digit; sums in another order change the last one."""
MOVED = 1e-5
"""What two steps at a high rate change at least."""

every_cell = pytest.mark.parametrize("family", BASES)
every_task = pytest.mark.parametrize("task", TASKS)


@dataclass
class Cell:
    """A finished run of two steps."""

    run: Run
    folder: Path
    compared: list[tuple[str, ...]] = field(default_factory=list)
    """Controls of the models whose first loss was compared with the base's."""

    @property
    def cache(self) -> Cache:
        return Cache.open(Path(self.run.data))

    def batch(self) -> Batch:
        """Both held-out clips, their first frame given."""
        cache = self.cache
        batch = Clips(cache, ("text", *self.run.controls)).batch(cache.indices("val"))
        batch.num_observed_B = torch.ones(2, dtype=torch.long)
        return batch


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of each family, a dataset of one camera and one of two, and all four caches."""
    folder = tmp_path_factory.mktemp("cells")
    moving_dataset(folder / "one")
    moving_dataset(folder / "rig", RIG)
    for family, make_base in BASES.items():
        make_base(folder / family)
        for data in ("one", "rig"):
            prepare(
                folder / data, cache_of(folder, family, data), the_base(folder, family), controls=CONTROLS, window={}
            )
    return folder


def the_base(toys: Path, family: str) -> Base:
    return find_base(str(toys / family))


def cache_of(toys: Path, family: str, data: str) -> Path:
    return toys / f"cache-{data}-{family}"


def toy_run(toys: Path, task: str, family: str, *, steps: int = 2, controls: tuple[str, ...] = ()) -> Run:
    """The run of a cell, or of a composition of controls; several views where the views control is in it."""
    names = controls or TASKS[task].controls
    return compose(
        task=task,
        base=the_base(toys, family),
        data=cache_of(toys, family, "rig" if "views" in names else "one"),
        controls=names,
        steps=steps,
        assignments=(*TOY, *SAMPLER[family], f"loop.validate_every={steps}"),
    )


def trained_cell(run: Run, folder: Path) -> Cell:
    """Train, and write down which models were compared with their base."""
    cell = Cell(run, folder)

    def comparing(world: WorldModel, cache: Cache, batch: Batch) -> float:
        cell.compared.append(tuple(world.controls))
        return require_base_loss(world, cache, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_stage, "require_base_loss", comparing)
        train_stage.train(run, folder)
    return cell


@pytest.fixture(scope="module")
def trained(toys: Path) -> Callable[[str, str], Cell]:
    """(task, family) -> the cell, trained once."""
    known: dict[tuple[str, str], Cell] = {}

    def find(task: str, family: str) -> Cell:
        if (task, family) not in known:
            known[task, family] = trained_cell(toy_run(toys, task, family), toys / f"run-{task}-{family}")
        return known[task, family]

    return find


def loss_of(world: WorldModel, batch: Batch) -> float:
    """With every control present and always the same noise."""
    with torch.no_grad():
        condition = world.condition(batch, {})
        return world.family.loss(world.network, batch, condition, generator(0, 0, "test"), world.run.objective)[
            0
        ].item()


def sample_of(world: WorldModel, batch: Batch) -> torch.Tensor:
    return world.sample(batch, [generator(0, number, "test") for number in range(batch.size)], world.run.sampler)


@every_cell
@every_task
def test_a_cell_starts_as_its_base(trained: Callable[[str, str], Cell], task: str, family: str) -> None:
    cell = trained(task, family)
    assert cell.compared == [TASKS[task].controls]
    controlled = base_world(cell.folder, cell.cache)
    told = tuple(name for name in cell.run.controls if name == "text")
    plain = assemble(dataclasses.replace(cell.run, controls=told), cell.cache)[0].eval()
    batch = cell.batch()
    assert loss_of(controlled, batch) == pytest.approx(loss_of(plain, batch), rel=EXACT)
    torch.testing.assert_close(sample_of(controlled, batch), sample_of(plain, batch))


@every_cell
@every_task
def test_a_continued_cell_is_the_same_bit_for_bit(
    toys: Path, trained: Callable[[str, str], Cell], task: str, family: str, tmp_path: Path
) -> None:
    cell = trained(task, family)
    for steps in (1, 2):
        run = dataclasses.replace(cell.run, loop=dataclasses.replace(cell.run.loop, steps=steps))
        train_stage.train(run, tmp_path)
    for name in ("raw", "ema"):
        got, wanted = (load_file(folder / f"weights/{name}.safetensors") for folder in (tmp_path, cell.folder))
        assert got.keys() == wanted.keys()
        assert [key for key in wanted if not torch.equal(got[key], wanted[key])] == []


@every_cell
@every_task
def test_the_control_of_another_clip_changes_the_loss(
    trained: Callable[[str, str], Cell], task: str, family: str
) -> None:
    cell = trained(task, family)
    rows = [row for row in read_metrics(cell.folder) if row["kind"] == "validation"]
    assert [row["step"] for row in rows] == [0, 2]
    for control in cell.run.controls:
        before, after = (abs(row[f"loss_with_foreign_{control}"] - row["loss"]) / abs(row["loss"]) for row in rows)
        if control == "views":
            assert before == after == 0, "all clips have the same cameras"
        elif control == "text":
            assert min(before, after) > 0, "the base reads text already"
        else:
            assert before <= EXACT
            assert after > MOVED, control


@every_cell
@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if "views" in task.controls])
def test_cameras_with_exchanged_names_change_the_loss(
    trained: Callable[[str, str], Cell], task: str, family: str, tmp_path: Path
) -> None:
    cell = trained(task, family)
    world, batch = load_world(filled(cell, tmp_path / "run"), cell.cache), cell.batch()
    before = loss_of(world, batch)
    identity = world.controls["views"].identity
    identity.data = identity.data.flip(0)
    assert abs(loss_of(world, batch) - before) > MOVED * abs(before)


@every_cell
def test_a_run_of_two_cameras_refuses_clips_of_one(
    toys: Path, trained: Callable[[str, str], Cell], family: str, tmp_path: Path
) -> None:
    cell = trained("multiview", family)
    with pytest.raises(ValueError, match=r"another views control .*identity is \[2, 8\], the cache needs \[1, 8\]"):
        load_world(cell.folder, Cache.open(cache_of(toys, family, "one")))
    with pytest.raises(ValueError, match="another views control"):
        generate(cell.folder, cache_of(toys, family, "one"), tmp_path / "clips", num_clips=1)
    assert not (tmp_path / "clips").exists(), "refused before anything is made"


@every_cell
def test_weights_of_another_version_cost_one_sentence(
    trained: Callable[[str, str], Cell], family: str, tmp_path: Path
) -> None:
    cell = trained("action", family)
    shutil.copytree(cell.folder, tmp_path / "run")
    path = tmp_path / "run/weights/ema.safetensors"
    tensors = load_file(path)
    grown = next(name for name in tensors if "frame_injection" in name and name.endswith("weight"))
    tensors[grown] = tensors[grown][:, :-1].contiguous()
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"was another version used\? size mismatch for network") as caught:
        load_world(tmp_path / "run", cell.cache)
    assert "\n" not in str(caught.value)


T, V = 9, len(RIG)
WRONG = {
    "action": ("action", np.zeros((T, 2, 3)), r"needs the shape \['D'\] per frame, got \[2, 3\]"),
    "camera": ("camera.intrinsics", np.full((1, T, 3), 32.0), r"needs the shape \[4\] per frame, got \[3\]"),
    "views": ("camera.world_from_camera", np.zeros((V, T, 3, 4)), r"needs the shape \[4, 4\] per frame, got \[3, 4\]"),
    "trajectory": ("ego.world_from_ego", np.zeros((T, 3, 3)), r"needs the shape \[4, 4\] per frame, got \[3, 3\]"),
}
"""By control: feature, values of a wrong size, what is said."""


@every_cell
@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.controls[-1] != "text"])
def test_a_control_of_the_wrong_size_is_refused(toys: Path, task: str, family: str, tmp_path: Path) -> None:
    control = TASKS[task].controls[-1]
    feature, values, said = WRONG[control]
    views = RIG if "views" in TASKS[task].controls else ("front",)
    moving_dataset(tmp_path / "data", views, **{feature.replace(".", "__"): values})
    base = the_base(toys, family)
    readers = "|".join(TASKS[task].controls)  # views may read the ego path too, and are asked first
    with pytest.raises(ValueError, match=rf"{feature}: the control '({readers})' {said}") as caught:
        prepare(tmp_path / "data", tmp_path / "cache", base, controls=TASKS[task].controls, window={})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


@every_cell
@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.controls[-1] == "text"])
def test_texts_of_another_width_are_refused(toys: Path, task: str, family: str, tmp_path: Path) -> None:
    wider = nano_text.NanoTextConfig(width=12, hidden=8, layers=1, heads=2, buckets=16, max_length=4)
    nano_text.save(nano_text.TextNetwork(wider), tmp_path / "text")
    other = dataclasses.replace(the_base(toys, family), text_path=tmp_path / "text")
    prepare(toys / "one", tmp_path / "cache", other, controls=TASKS[task].controls, window={})
    run = dataclasses.replace(toy_run(toys, task, family), data=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="made with another text encoder") as caught:
        train_stage.train(run, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "weights").exists()


def test_two_texts_for_one_camera_are_refused() -> None:
    with pytest.raises(ValueError, match="2 texts for 1 cameras; give one, or one each"):
        _ = dataclasses.replace(moving_episode(0), texts=("one", "two")).texts_per_view


COMPOSITIONS = (("action", "views"), ("camera", "views"), ("action", "camera"))


@every_cell
@pytest.mark.parametrize("controls", COMPOSITIONS, ids=",".join)
def test_controls_compose(toys: Path, controls: tuple[str, ...], family: str, tmp_path: Path) -> None:
    cell = trained_cell(toy_run(toys, "action", family, steps=1, controls=controls), tmp_path / "run")
    assert cell.compared == [controls]
    world, coverage = assemble(cell.run, cell.cache)
    before, after = dict(world.network.named_parameters()), load_file(tmp_path / "run/weights/raw.safetensors")
    grown = [name for name in coverage.new_and_zero if name.endswith("weight")]
    assert grown
    assert [name for name in grown if torch.equal(before[name], after[f"network.{name}"])] == []
    end = next(row for row in read_metrics(cell.folder) if (row["kind"], row["step"]) == ("validation", 1))
    for control in set(controls) - {"views"}:
        assert abs(end[f"loss_with_foreign_{control}"] - end["loss"]) > MOVED * end["loss"], control


def filled(cell: Cell, folder: Path) -> Path:
    """A copy of a run whose controls speak loudly: what started at zero holds large numbers, for a gain of 8."""
    shutil.copytree(cell.folder, folder)
    names = assemble(cell.run, cell.cache)[1].new_and_zero
    path = folder / "weights" / "ema.safetensors"
    tensors, step = load_file(path), {"step": str(cell.run.loop.steps)}
    for place, name in enumerate(names):
        loud = torch.randn(tensors[f"network.{name}"].shape, generator=generator(0, place, "loud")) / 8
        tensors[f"network.{name}"] = loud
    save_file(tensors, path, step)
    return folder


@pytest.mark.parametrize(
    ("task", "family", "read"),
    [
        ("camera", "diffusion", {"camera"}),
        ("instruction", "autoregressive", {"text"}),
        ("multiview_trajectory", "autoregressive", {"views", "trajectory"}),
    ],
)
def test_a_cell_makes_clips_that_are_judged(
    trained: Callable[[str, str], Cell],
    task: str,
    family: str,
    read: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = trained(task, family)
    out = generate(filled(cell, tmp_path / "run"), cell.cache.folder, tmp_path / "clips", num_clips=2)
    made = MadeSet.open(out)
    assert list(made.columns) == list(MEANINGS)
    for clip in made.clips:
        post, shuffled = (made.read(clip.id, name).pixels_VTHWC for name in ("post-trained", "shuffled"))
        assert np.array_equal(post[:, :1], shuffled[:, :1]), "the given frame"
        assert not np.array_equal(post[:, 1:], shuffled[:, 1:])
    monkeypatch.setattr(probe, "VISITS", 100)
    page = evaluate([out])
    report = read_json(out / "report.json")
    assert page.stat().st_size > 10_000
    assert set(report["obedience"]) == read
    for control, of_control in report["obedience"].items():
        assert set(of_control["measures"]) <= set(report["values"]["real"])
        assert set(of_control["measures"]) <= set(report["values"]["post-trained"])
        assert of_control["is_commanded"] == (control != "views")
        told = set(of_control["measures"]) & set(report["values"]["shuffled, as told"])
        assert bool(told) == of_control["is_commanded"]
    assert report["num_clips"] == 2
