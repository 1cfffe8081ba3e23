"""Robots under commands: which axes their actions have, and how what holds goes on from where the clip has it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketTestSession

from tests.steering.robots import BENDS, arm, arm_recording, gripper, gripper_recording
from tests.steering.toy import make_run
from worldtune.controls.action import steering
from worldtune.dataset import Dataset
from worldtune.stages.rollout import rollout
from worldtune.stages.steer import Steered, open_run
from worldtune.steering.access import Access
from worldtune.steering.commands import read_commands, write_commands
from worldtune.steering.server import application

HZ = 10.0
GRIPPER_AXES = ["x", "y", "z", "pitch", "yaw", "gripper"]
PLAIN = [f"action_{i}" for i in range(1, 8)]


def axes(*recorded: dict[str, np.ndarray]) -> dict[str, Any]:
    return {axis.name: axis for axis in steering.axes(recorded, HZ)}


def test_actions_that_lead_from_pose_to_pose_are_a_gripper() -> None:
    found = axes(gripper(60, 0), gripper(60, 3))
    assert list(found) == GRIPPER_AXES, "roll never varies"
    assert [name for name, axis in found.items() if axis.holds] == ["gripper"]
    assert (found["gripper"].low, found["gripper"].high) == (0, 1)
    assert all(axis.rest == 0 and axis.low < 0 < axis.high for name, axis in found.items() if name != "gripper")
    made = steering.extend({"action": np.zeros(7)}, {"gripper": np.ones(2), "yaw": np.full(2, 0.3)}, HZ)
    assert np.allclose(made["action"][0], [0, 0, 0, 0, 0, 0.3, 1])


def test_a_gripper_is_held_as_it_stands_not_as_the_recording_goes_on() -> None:
    shutting = {"action": np.zeros(7), "observation.state": np.array([0.4, 0, 0.2, 3.1, 0, 0.5, 1])}
    found = list(axes(gripper(60, 0)).values())
    assert steering.held(shutting, found) == {"gripper": 1.0}
    assert steering.held({"action": np.zeros(7)}, found) == {"gripper": 0.0}, "without a state, what is commanded"


@pytest.mark.parametrize(
    "change", ["in the robot's axes", "twenty times as large", "the opening is another number", "no states", "joints"]
)
def test_other_actions_of_seven_numbers_are_no_gripper(change: str) -> None:
    recorded = gripper(60, 0)
    states = recorded["observation.state"]
    if change == "in the robot's axes":
        recorded["action"][:-1, :3] = np.diff(states[:, :3], axis=0)
    elif change == "twenty times as large":
        recorded["action"][:, :6] *= 20
    elif change == "the opening is another number":
        states[:, 6] = 0.5
    elif change == "no states":
        del recorded["observation.state"]
    else:
        recorded = arm(60, 0)
    found = axes(recorded)
    assert set(found) <= set(PLAIN)
    last = {name: value[-1] for name, value in recorded.items()}
    made = steering.extend(last, {name: np.full(4, axis.high) for name, axis in found.items()}, HZ)
    assert set(made) == {"action"}, "no state follows from actions that are not understood"
    assert np.allclose(made["action"][0, [PLAIN.index(name) for name in found]], [axis.high for axis in found.values()])


def test_a_gripper_that_never_moves_has_no_axes() -> None:
    still = {"action": np.zeros((20, 7)), "observation.state": np.tile(gripper(2, 0)["observation.state"][:1], (20, 1))}
    assert axes(still) == {}
    assert axes({"action": np.tile(BENDS, (20, 1)), "observation.state": np.tile(BENDS, (20, 1))}) == {}
    assert axes({"action": np.zeros((20, 3))}) == {}


@pytest.mark.parametrize("has_states", [True, False], ids=["beside states", "without states"])
def test_joint_targets_hold_and_range_over_all_of_training(has_states: bool) -> None:
    recorded = [arm(100, first) for first in range(3)]
    if not has_states:
        recorded = [{"action": part["action"]} for part in recorded]
    found = axes(*recorded)
    assert list(found) == PLAIN
    assert all(axis.holds for axis in found.values())
    targets = np.concatenate([part["action"] for part in recorded])
    assert [axis.low for axis in found.values()] == targets.min(0).tolist(), "a clip may start at an end"
    assert steering.held({"action": BENDS}, list(found.values())) == dict(zip(PLAIN, BENDS, strict=True))
    assert 1 < found["action_1"].sweep_s < 3, "as fast as in training: 60 degrees at 3.6 a frame"


def test_motions_rest_at_zero_however_smooth_they_are() -> None:
    """Of recordings with states: slow motions change as little from frame to frame as targets do."""
    t = np.arange(400)
    speeds = np.stack([np.sin(0.03 * t), np.sin(0.02 * t + 1) + 0.2, np.sin(0.025 * t + 2)], 1)
    states = np.concatenate([np.zeros((1, 3)), np.cumsum(speeds[:-1], 0)]) + [5, -3, 0]
    found = axes({"action": speeds, "observation.state": -states})
    assert [axis.holds for axis in found.values()] == [False] * 3, "whichever way the state counts"
    assert [axis.rest for axis in found.values()] == [0] * 3
    quick = np.random.default_rng(0).normal(size=(200, 2))
    assert not any(axis.holds for axis in axes({"action": quick}).values()), "without states"
    forward = axes({"action": 2 + quick, "observation.state": np.cumsum(2 + quick, 0) - quick - 2})
    assert all(axis.low == axis.rest == 0 for axis in forward.values() if not axis.holds)
    assert not any(axis.holds for axis in forward.values()), "always ahead in training, and still at rest"


@pytest.mark.parametrize(("shut", "opened"), [(-1, 1), (0, 1)])
def test_a_gripper_that_is_told_open_or_shut_holds(shut: int, opened: int) -> None:
    told = np.where(np.arange(120) % 40 < 25, shut, opened)[:, None].astype(float)
    width = 0.04 - 0.02 * np.concatenate([told[:1], told[:-1]])  # metres, the other way round
    assert axes({"action": told})["action_1"].holds
    assert axes({"action": told, "observation.state": width})["action_1"].holds


@pytest.fixture(scope="module")
def gripper_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its held-out clip begins with an open gripper; in training it is shut nearly always."""
    return make_run(tmp_path_factory.mktemp("gripper"), "diffusion", ("action",), record=gripper_recording)


@pytest.fixture
def page(gripper_run: Path) -> Iterator[tuple[Steered, TestClient, WebSocketTestSession]]:
    """A page that drives it."""
    steered = open_run(gripper_run)
    home = {"base_url": "http://localhost:8000", "headers": {"origin": "http://localhost:8000"}}
    with (
        TestClient(application(steered, Access()), **home) as client,
        client.websocket_connect("ws://localhost:8000/session") as page,
    ):
        yield steered, client, page


@pytest.fixture
def held_out(gripper_run: Path) -> Steered:
    steered = open_run(gripper_run)
    steered.session.start(steered.observation(steered.starts()[0]))
    return steered


def told(steered: Steered) -> np.ndarray:
    """Actions of the frames of the newest chunk."""
    return steered.session.recorded().features["action"][-5:-1]


def test_an_open_hand_stays_open_until_it_is_shut(held_out: Steered) -> None:
    session = held_out.session
    assert [axis.name for axis in session.axes] == GRIPPER_AXES
    assert next(axis.rest for axis in session.axes if axis.name == "gripper") == 0, "the median of training"
    assert session.held == {"gripper": 1.0}
    session.record()
    session.step({"x": 0.01})
    assert np.allclose(told(held_out)[:, [0, 6]], [0.01, 1])
    session.step({"gripper": 0.25})
    assert session.held == {"gripper": 0.25}
    session.step({})
    assert np.allclose(told(held_out)[:, [0, 6]], [0, 0.25]), "the motion ends, the opening stays"
    assert np.allclose(session.recorded().commands["gripper"], [1] * 5 + [0.25] * 8)
    session.undo()
    session.undo()
    assert session.held == {"gripper": 1.0}
    session.step({"gripper": 0.5})
    session.reset()
    assert session.held == {"gripper": 1.0}


def test_what_was_followed_is_gone_on_from(held_out: Steered) -> None:
    features = {name: np.array(value) for name, value in held_out.recording(held_out.starts()[0]).features.items()}
    features["action"][:, 6] = features["observation.state"][:, 6] = 0.75
    held_out.session.follow({name: features[name][:5] for name in ("action", "observation.state")})
    assert held_out.session.held == {"gripper": 0.75}


def test_a_file_without_the_opening_leaves_it(gripper_run: Path, tmp_path: Path) -> None:
    (tmp_path / "way.csv").write_text("frames,x\n8,0.01\n")
    rollout(gripper_run, tmp_path / "clip.mp4", controls=tmp_path / "way.csv", dataset=tmp_path / "kept")
    signals = Dataset.open(tmp_path / "kept").signals(0)
    assert np.allclose(signals["action"][:, 6], 1)
    assert np.allclose(signals["steering.gripper"], 1)


def test_empty_cells_of_what_holds_repeat_the_row_before(held_out: Steered, tmp_path: Path) -> None:
    path, session = tmp_path / "way.csv", held_out.session
    path.write_text("x,gripper\n0.01,\n,0.5\n0.01,\n")
    got = read_commands(path, session.axes, session.held)
    assert got["x"].tolist() == [0.01, 0, 0.01]
    assert got["gripper"].tolist() == [1, 0.5, 0.5]


def test_an_arm_stays_where_the_clip_has_it(tmp_path: Path) -> None:
    steered = open_run(make_run(tmp_path, "diffusion", ("action",), record=arm_recording))
    session = steered.session
    assert all(axis.holds for axis in session.axes)
    session.start(steered.observation(steered.starts()[0]))
    pose = arm(17, 3, 6)["action"][0]
    session.record()
    session.step({})
    wanted = [axis.cut(float(value)) for axis, value in zip(session.axes, pose, strict=True)]
    assert np.allclose(told(steered), wanted), "no joint springs away"
    session.step({"action_2": -50.0})
    session.step({})
    assert np.allclose(told(steered)[:, 1], -50)
    assert np.allclose(told(steered)[:, [0, 2, 3, 4, 5]], np.delete(wanted, 1))
    take = session.recorded()
    write_commands(tmp_path / "controls.csv", take.commands)
    again = read_commands(tmp_path / "controls.csv", session.axes)
    assert np.allclose(again["action_3"], take.commands["action_3"]), "degrees of seven digits are in range"


def said(page: WebSocketTestSession, kind: str, **more: Any) -> dict[str, Any]:
    """The next JSON answer; frames that are under way are passed over."""
    page.send_text(json.dumps({"type": kind, **more}))
    while True:
        answer = page.receive()
        if answer.get("text"):
            return json.loads(answer["text"])


def test_the_page_is_told_how_the_gripper_stands(page: tuple[Steered, TestClient, WebSocketTestSession]) -> None:
    steered, client, socket = page
    socket.receive_json()
    assert socket.receive_json()["held"] == {"gripper": 1.0}
    socket.receive_bytes()
    socket.send_text(json.dumps({"type": "commands", "axes": {"x": 0.02, "gripper": 0.0}, "sequence": 1}))
    assert "held" not in said(socket, "play"), "a level that is on its way must not be set back"
    socket.receive_bytes()
    said(socket, "pause")
    assert steered.session.held == {"gripper": 0.0}
    assert said(socket, "reset")["held"] == {"gripper": 1.0}
    socket.receive_bytes()
    said(socket, "play")
    socket.receive_bytes()
    assert steered.session.held == {"gripper": 1.0}, "what was commanded before the reset is of another past"
    said(socket, "pause")
    assert said(socket, "undo")["held"] == {"gripper": 1.0}
    trained = next(start for start in steered.starts() if start.split == "train")
    assert said(socket, "start", clip=trained.id)["held"] == {"gripper": 0.0}
    socket.receive_bytes()
    image = io.BytesIO()
    Image.new("RGB", (16, 16)).save(image, "PNG")
    assert client.post("/start", content=image.getvalue()).status_code == 200
    assert socket.receive_json()["held"] == {"gripper": 0.0}, "of the clip whose signals the picture gets"
