"""Sessions of both families: they go on for ever, repeat themselves exactly, and hear what is commanded."""

from pathlib import Path

import numpy as np
import pytest

from tests.steering.toy import FAMILIES, make_run
from worldtune.dataset import Dataset
from worldtune.stages.check import check
from worldtune.stages.prepare import prepare
from worldtune.stages.steer import Steered, open_run
from worldtune.steering.commands import read_commands


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(request.param)
    make_run(made, request.param, ("text", "action", "camera"))
    return made


@pytest.fixture(scope="module")
def steered(folder: Path) -> Steered:
    return open_run(folder / "run")


@pytest.fixture
def world(steered: Steered) -> Steered:
    """Started on the held-out clip, with seed 0."""
    steered.session.seed = 0
    steered.session.start(steered.observation(steered.starts()[0]))
    return steered


def drive(world: Steered, *commands: dict[str, float]) -> np.ndarray:
    return np.concatenate([world.session.step(command) for command in commands], 1)


FORWARD, TURN = {"forward": 4.0, "action_1": 0.01}, {"turn_right": 0.5, "action_1": -0.01}


def test_a_session_starts_from_what_was_seen_and_goes_on(world: Steered) -> None:
    session = world.session
    assert world.starts()[0].split == "val"
    clip = world.clip(world.starts()[0])
    assert np.array_equal(session.shown_VHWC, clip.video_VTHWC[:, 0])
    made = [session.step(FORWARD) for _ in range(7)]
    assert [part.shape for part in made] == [(1, 4, 16, 16, 3)] * 7
    assert all(part.dtype == np.uint8 for part in made)
    assert session.number == 7, "three windows of two new latent frames, and one more chunk"
    assert np.array_equal(session.shown_VHWC, made[-1][:, -1])


def test_the_same_start_seed_and_commands_give_the_same_frames(world: Steered) -> None:
    way = (FORWARD, TURN, TURN, FORWARD)
    first = drive(world, *way)
    world.session.reset()
    assert world.session.number == 0
    assert np.array_equal(drive(world, *way), first)
    world.session.seed = 1
    world.session.reset()
    assert not np.array_equal(drive(world, *way), first)


def test_undo_goes_back_a_chunk_and_the_future_repeats(world: Steered) -> None:
    session = world.session
    assert not session.undo(), "nothing was made yet"
    way = [session.step(command) for command in (FORWARD, TURN, FORWARD, TURN)]
    assert session.undo()
    assert session.undo()
    assert np.array_equal(session.shown_VHWC, way[1][:, -1])
    assert np.array_equal(session.step(FORWARD), way[2]), "across the window that was begun anew"
    assert np.array_equal(session.step(TURN), way[3])


def test_commands_change_the_picture(world: Steered) -> None:
    still = drive(world, {}, {})
    world.session.reset()
    assert not np.array_equal(drive(world, FORWARD, FORWARD), still)


def test_words_change_the_picture(world: Steered) -> None:
    before = drive(world, {}, {}, {})
    world.session.reset()
    world.session.say(["a door opens"])
    assert world.session.texts == ("a door opens",)
    assert not np.array_equal(drive(world, {}, {}, {}), before)
    with pytest.raises(ValueError, match="2 texts for 1 cameras"):
        world.session.say(["a", "b"])


def test_what_cannot_be_commanded_is_said(world: Steered) -> None:
    with pytest.raises(ValueError, match="no axis 'forwards' in this run: did you mean 'forward'"):
        world.session.step({"forwards": 1})
    with pytest.raises(ValueError, match="axis forward: wanted one finite number or 4"):
        world.session.step({"forward": float("nan")})
    with pytest.raises(ValueError, match="axis forward: wanted one finite number or 4"):
        world.session.step({"forward": [1.0, 2.0]})
    assert world.session.number == 0


def test_a_start_of_another_size_is_refused(world: Steered) -> None:
    observation = world.observation(world.starts()[0])
    wrong = type(observation)(frames_VTHWC=np.zeros((1, 1, 8, 16, 3), np.uint8), features={}, texts=("a",))
    with pytest.raises(ValueError, match=r"a start needs frames uint8 \[1,T,16,16,3\], got uint8 \[1, 1, 8, 16, 3\]"):
        world.session.start(wrong)


def test_a_picture_of_ones_own_is_fitted_to_the_run(world: Steered) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 255
    world.session.start(world.from_image(image, world.starts()[0], "a wall"))
    shown = world.session.shown_VHWC[0]
    assert shown.shape == (16, 16, 3)
    assert (shown[:, :7] < 30).all()
    assert (shown[:, 9:] > 225).all()
    assert world.session.texts == ("a wall",)
    assert drive(world, FORWARD).shape == (1, 4, 16, 16, 3)


def test_commands_per_frame_equal_those_held(world: Steered) -> None:
    held = drive(world, FORWARD)
    world.session.reset()
    by_frame = world.session.step({name: [value] * 4 for name, value in FORWARD.items()})
    assert np.array_equal(by_frame, held)


def test_a_recorded_session_is_a_dataset_and_its_log_makes_it_again(world: Steered, tmp_path: Path) -> None:
    session = world.session
    with pytest.raises(ValueError, match="nothing is recorded yet"):
        session.recorded()
    session.record()
    made = drive(world, FORWARD, TURN, TURN)
    session.undo()
    made = np.concatenate([made[:, :8], drive(world, FORWARD)], 1)
    take = session.recorded()
    assert np.array_equal(take.frames_VTHWC[:, 1:], made), "what was taken back is not kept"
    out = world.save(take, tmp_path / "saved")
    report = check(out / "dataset", ("text", "action", "camera"), _base(world.run.base), {})
    assert report.faults == ()
    assert dict(report.num_clips) == {"train": 1}
    base = Path(world.run.base)
    assert prepare(out / "dataset", tmp_path / "cache", _base(base), controls=("text", "action", "camera"), window={})
    signals = Dataset.open(out / "dataset").signals(0)
    assert np.allclose(signals["steering.turn_right"][:, 0], [0, *[0] * 4, *[0.5] * 4, *[0] * 4])
    assert np.allclose(signals["action"][:, 0], [*[0.01] * 4, *[-0.01] * 4, *[0.01] * 4, 0.01])
    commands = read_commands(out / "controls.csv", session.axes)
    assert {len(column) for column in commands.values()} == {12}
    session.reset()
    again = [session.step({name: column[i : i + 4] for name, column in commands.items()}) for i in (0, 4, 8)]
    assert np.array_equal(np.concatenate(again, 1), made)
    assert (out / "clip.mp4").stat().st_size > 0


def _base(folder: Path):  # noqa: ANN202
    from worldtune.stages.base import find_base

    return find_base(str(folder))


@pytest.mark.parametrize("pace", [{"context": 2}, {"chunk": 2}, {"lookahead": 1}])
def test_every_pace_goes_on(folder: Path, pace: dict[str, int]) -> None:
    steered = open_run(folder / "run", pace=pace)
    steered.session.start(steered.observation(steered.starts()[0]))
    made = drive(steered, *[FORWARD] * 4)
    assert made.shape[1] == 16 * pace.get("chunk", 1)


def test_a_pace_that_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="context 2 and chunk 2 do not fit into the window of 3 latent frames"):
        open_run(folder / "run", pace={"context": 2, "chunk": 2})
    with pytest.raises(ValueError, match="context and chunk must be at least 1"):
        open_run(folder / "run", pace={"context": 0})
