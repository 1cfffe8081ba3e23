"""From an axis to the aligned arrays that a model reads: signs, sizes, ranges."""

from pathlib import Path

import numpy as np
import pytest

from tests.steering.toy import EGO_FROM_CAMERA, FAMILIES, ego_path, make_run
from worldtune.contract.nouns import Clip, Grid
from worldtune.controls import action, camera, trajectory
from worldtune.controls.action import steering as action_steering
from worldtune.controls.camera import steering as camera_steering
from worldtune.controls.trajectory import steering as trajectory_steering
from worldtune.stages.steer import open_run

GRID = Grid(views=1, frames=2, height=2, width=2, frames_per_latent=4, pixels_per_latent=8)
HZ = 10.0


def clip(**features: np.ndarray) -> Clip:
    video = np.zeros((1, 5, 16, 16, 3), np.uint8)
    return Clip(id="c", video_VTHWC=video, fps_hz=HZ, views=("a",), texts=("t",), features=features)


def camera_arrays(commands: dict[str, float], start_44: np.ndarray) -> np.ndarray:
    """Pose of the camera after the new latent frame, seen from the start, as the model reads it."""
    rows = {name: np.full(4, value) for name, value in commands.items()}
    made = camera_steering.extend({"camera.world_from_camera": start_44[None]}, rows, HZ)
    lens = np.tile(np.array([16.0, 16, 8, 8]), (1, 5, 1))
    arrays = camera.align(clip(**made, **{"camera.intrinsics": lens}), GRID)
    return arrays["first_from_camera"][0, 1, -1]


@pytest.mark.parametrize("start", [EGO_FROM_CAMERA, np.eye(4)], ids=["level in a z-up world", "OpenCV world"])
def test_camera_axes_go_where_their_names_say(start: np.ndarray) -> None:
    """In OpenCV axes of the first camera: x right, y down, z forward; 4 frames at 10 Hz are 0.4 s."""
    assert np.allclose(camera_arrays({"forward": 1.0}, start)[:3, 3], [0, 0, 0.4], atol=1e-6)
    assert np.allclose(camera_arrays({"right": 1.0}, start)[:3, 3], [0.4, 0, 0], atol=1e-6)
    assert np.allclose(camera_arrays({"up": 1.0}, start)[:3, 3], [0, -0.4, 0], atol=1e-6)
    sight = camera_arrays({"turn_right": 0.5}, start)[:3, 2]
    assert np.allclose(sight, [np.sin(0.2), 0, np.cos(0.2)], atol=1e-6)
    sight = camera_arrays({"look_up": 0.5}, start)[:3, 2]
    assert np.allclose(sight, [0, -np.sin(0.2), np.cos(0.2)], atol=1e-6)


@pytest.mark.parametrize("tilt_deg", [30, 60])
def test_a_tilted_camera_walks_level_and_turns_without_rolling(tilt_deg: float) -> None:
    tilt, turn = np.deg2rad(tilt_deg), np.deg2rad(40)
    down, aside = np.eye(4), np.eye(4)
    down[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    aside[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    start = aside @ EGO_FROM_CAMERA @ down
    rows = {"forward": np.full(20, 1.0), "turn_right": np.full(20, 0.7)}
    made = camera_steering.extend({"camera.world_from_camera": start[None]}, rows, HZ)["camera.world_from_camera"][0]
    assert np.allclose(made[:, 2, 3], start[2, 3]), "height above the ground"
    assert np.allclose(made[:, 2, 0], 0, atol=1e-9), "the x axis stays level"
    assert np.allclose(made[:, 2, 2], start[2, 2]), "the tilt stays"


def test_looking_up_ends_before_the_zenith() -> None:
    rows = {"look_up": np.full(100, 3.0)}
    made = camera_steering.extend({"camera.world_from_camera": EGO_FROM_CAMERA[None]}, rows, HZ)
    assert np.arcsin(made["camera.world_from_camera"][0, -1, 2, 2]) == pytest.approx(1.2, abs=0.3)


def test_cameras_of_a_rig_move_as_one() -> None:
    side = EGO_FROM_CAMERA.copy()
    side[1, 3] = 1.0
    made = camera_steering.extend(
        {"camera.world_from_camera": np.stack([EGO_FROM_CAMERA, side])},
        {"turn_right": np.full(3, 1.0), "forward": np.full(3, 2.0)},
        HZ,
    )["camera.world_from_camera"]
    between = np.linalg.inv(made[0]) @ made[1]
    assert np.allclose(between, between[:1])


def test_ranges_of_the_camera_are_those_of_training_and_undo_the_motion() -> None:
    """Speeds read from a path that was commanded are the commands."""
    rows = {"forward": np.linspace(-1, 2, 41), "turn_right": np.linspace(-0.4, 0.2, 41)}
    made = camera_steering.extend({"camera.world_from_camera": EGO_FROM_CAMERA[None]}, rows, HZ)
    axes = {axis.name: axis for axis in camera_steering.axes([made], HZ)}
    assert sorted(axes) == ["forward", "turn_right"], "what never moves is no axis"
    assert (axes["forward"].low, axes["forward"].high) == pytest.approx((-0.925, 1.925), abs=1e-6)
    assert (axes["turn_right"].low, axes["turn_right"].high) == pytest.approx((-0.385, 0.185), abs=1e-6)


def test_driving_reaches_the_trajectory_arrays_with_its_sign() -> None:
    start = ego_path(5, 1)[4]
    rows = {"speed": np.full(4, 5.0), "turn_left": np.full(4, 0.5)}
    made = trajectory_steering.extend({"ego.world_from_ego": start}, rows, HZ)
    motion = trajectory.align(clip(**made), GRID)["motion"]
    radius = 5.0 / 0.5
    assert np.allclose(motion[1, 0], [radius * np.sin(0.2), radius * (1 - np.cos(0.2)), 0.2], atol=2e-3)
    assert motion[1, 0, 1] > 0, "left is positive y"


def test_the_vehicle_carries_its_cameras() -> None:
    start = ego_path(3, 0)[2]
    last = {"ego.world_from_ego": start, "camera.world_from_camera": (start @ EGO_FROM_CAMERA)[None]}
    made = trajectory_steering.extend(last, {"speed": np.full(4, 5.0), "turn_left": np.full(4, -0.5)}, HZ)
    rig = np.linalg.inv(made["ego.world_from_ego"]) @ made["camera.world_from_camera"][0]
    assert np.allclose(rig, EGO_FROM_CAMERA)


def test_a_vehicle_at_rest_keeps_going() -> None:
    axes = {axis.name: axis for axis in trajectory_steering.axes([{"ego.world_from_ego": ego_path(30, 0)}], HZ)}
    assert axes["speed"].low == 0
    assert axes["speed"].rest == pytest.approx(10 * 0.5 * 1.2, rel=0.2)
    assert axes["turn_left"].low < -0.5
    assert axes["turn_left"].high > 0.5


def test_an_action_leads_from_its_frame_to_the_next() -> None:
    last = {"action": np.array([9.0, 9, 9])}
    made = action_steering.extend(last, {"action_2": np.array([1.0, 2, 3, 4])}, HZ)
    frames = action.align(clip(**made), GRID)["frames"]
    assert np.array_equal(frames[1], [[9, 1, 9], [9, 2, 9], [9, 3, 9], [9, 4, 9]])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rig_on_a_vehicle_is_driven_and_shows_all_views(family: str, tmp_path: Path) -> None:
    controls = ("text", "views", "trajectory", "camera")
    steered = open_run(make_run(tmp_path, family, controls, views=("front", "left")))
    session = steered.session
    assert [axis.name for axis in session.axes] == ["speed", "turn_left"], "cameras follow the vehicle"
    session.start(steered.observation(steered.starts()[0]))
    session.record()
    assert session.step({"speed": 3.0, "turn_left": 0.4}).shape == (2, 4, 16, 16, 3)
    take = session.recorded()
    ego, cameras = (take.features[name] for name in ("ego.world_from_ego", "camera.world_from_camera"))
    assert np.allclose(np.linalg.inv(ego)[None] @ cameras, EGO_FROM_CAMERA, atol=1e-5)
    with pytest.raises(ValueError, match=r"this run has 2 cameras \(front, left\): start it from a clip"):
        steered.from_image(np.zeros((8, 8, 3), np.uint8), steered.starts()[0])
