"""Camera paths in files: as the poses and speeds that they are, in between rows, and bad rows.

Shape legend: T frames; 44 is a 4x4 matrix.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.layouts.foreign import quaternion, walk
from worldtune.controls.camera.steering import extend, follow

HZ = 10.0
FEATURE = "camera.world_from_camera"
HEAD = "time_s,x_m,y_m,z_m,qx,qy,qz,qw\n"
TILT = np.array([[1, 0, 0, 0], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0], [0, 0, 0, 1.0]])
START = walk(4)[3] @ TILT


def camera_way(path: Path, poses_T44: np.ndarray, times_s: np.ndarray) -> Path:
    """A file of these poses."""
    rows = []
    for time_s, pose_44 in zip(times_s, poses_T44, strict=True):
        w, *xyz = quaternion(pose_44[:3, :3])
        rows.append(",".join(map(repr, [float(time_s), *map(float, pose_44[:3, 3]), *xyz, w])) + "\n")
    path.write_text(HEAD + "".join(rows))
    return path


def turned(vectors: np.ndarray, axis: np.ndarray, angle_rad: float) -> np.ndarray:
    """Vectors [...,3], turned about a unit axis."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return vectors * cos + np.cross(axis, vectors) * sin + axis * (vectors @ axis)[..., None] * (1 - cos)


def test_a_commanded_way_in_a_file_is_the_same_way(tmp_path: Path) -> None:
    """Written in another world and by another clock, it asks for the commands that made it."""
    commands = {
        "forward": np.linspace(1, -0.5, 30),
        "right": np.linspace(-1, 0, 30),
        "up": np.full(30, 0.2),
        "turn_right": np.linspace(2, -1, 30),
        "look_up": np.linspace(-0.3, 0.4, 30),
    }
    side = START.copy()
    side[0, 3] += 1.5
    last = {FEATURE: np.stack([START, side])}
    poses_VT44 = extend(last, commands, HZ)[FEATURE]
    way = camera_way(tmp_path / "way.csv", walk(3)[2] @ poses_VT44[0], 5 + np.arange(31) / HZ)
    features, asked = follow(way, last, HZ)
    np.testing.assert_allclose(features[FEATURE], poses_VT44, atol=1e-7)
    assert asked.keys() == commands.keys()
    for name, values_T in commands.items():
        np.testing.assert_allclose(asked[name], values_T, atol=1e-6, err_msg=name)


number = st.floats(-1, 1)
vector = st.tuples(number, number, number).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)


@given(axis=vector, start_axis=vector, angle_rad=st.floats(0.001, 3.1), sign=st.sampled_from([-1, 1]), shift=vector)
def test_between_two_rows_it_turns_evenly_about_one_axis(
    tmp_path_factory: pytest.TempPathFactory,
    axis: np.ndarray,
    start_axis: np.ndarray,
    angle_rad: float,
    sign: int,
    shift: np.ndarray,
) -> None:
    """Slerp in closed form, whichever of its two quaternions a row gives."""
    axis, start_axis = axis / np.linalg.norm(axis), start_axis / np.linalg.norm(start_axis)
    rotation = turned(np.eye(3), start_axis, 0.7).T
    ends_244 = np.stack([np.eye(4), np.eye(4)])
    ends_244[0, :3, :3] = rotation
    ends_244[1, :3, :3] = rotation @ turned(np.eye(3), axis, angle_rad).T
    ends_244[1, :3, 3] = shift
    way = camera_way(tmp_path_factory.mktemp("slerp") / "way.csv", ends_244, np.array([0.0, 0.8]))
    head, first, second = way.read_text().splitlines()
    cells = second.split(",")
    way.write_text("\n".join([head, first, ",".join([*cells[:4], *(repr(sign * float(q)) for q in cells[4:])])]))
    got_T44 = follow(way, {FEATURE: START[None]}, HZ)[0][FEATURE][0]
    assert len(got_T44) == 9
    for t, got_44 in enumerate(got_T44):
        wanted_33 = START[:3, :3] @ turned(np.eye(3), axis, angle_rad * t / 8).T
        np.testing.assert_allclose(got_44[:3, :3], wanted_33, atol=1e-6)
        np.testing.assert_allclose(got_44[:3, 3], START[:3, 3] + START[:3, :3] @ rotation.T @ shift * t / 8, atol=1e-9)


def test_rows_lie_at_any_times_and_other_columns_are_left_out(tmp_path: Path) -> None:
    way = tmp_path / "way.csv"
    rows = "7,a,0,0,0,0,0,0,1\n7.25,b,0,0,1,0,0,0,0.999\n\n8.04,c,0,0,1,0,0,0,-1\n"
    way.write_text("time_s, note,x_m,y_m,z_m,qx,qy,qz,qw\n" + rows)
    features, asked = follow(way, {FEATURE: np.eye(4)[None]}, HZ)
    np.testing.assert_allclose(features[FEATURE][0, :, 2, 3], [0, 0.4, 0.8, *[1] * 8], atol=1e-9)
    np.testing.assert_allclose(asked["forward"], [4, 4, 2, *[0] * 7], atol=1e-6)
    assert len(follow(way, {FEATURE: np.eye(4)[None]}, 1.0)[1]["forward"]) == 1
    assert len(follow(way, {FEATURE: np.eye(4)[None]}, 0.5)[1]["forward"]) == 0, "shorter than one frame"


def test_a_camera_on_its_side_still_goes_forward(tmp_path: Path) -> None:
    half = np.sqrt(0.5)
    way = tmp_path / "way.csv"
    way.write_text(f"{HEAD}0,0,0,0,0,0,0,1\n0.1,0,0,0,0,0,{half},{half}\n0.2,0,0,0.3,0,0,{half},{half}\n")
    asked = follow(way, {FEATURE: np.eye(4)[None]}, HZ)[1]
    np.testing.assert_allclose(asked["forward"], [0, 3], atol=1e-9)
    assert not np.abs([asked[name] for name in ("right", "up", "turn_right", "look_up")]).max() > 1e-6


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0,0,0,0,0,0,0,1\n1,0,0,0,0,0,0,2", "line 3: the quaternion qx,qy,qz,qw must have length 1, got 2"),
        ("0,0,0,0,0,0,0,0\n1,0,0,0,0,0,0,1", "line 2: the quaternion qx,qy,qz,qw must have length 1, got 0"),
        ("0,0,0,0,0,0,0,1\n\n1,0,0,0,0,1,0,0", "line 4: half a turn since the row before may go either way round"),
        ("0,0,0,0,0,0,0,1\n1,0,0,0,0,0,1", "line 3: qw must be a number, got None"),
        ("0,0,0,0,0,0,0,1\n1,0,0,nan,0,0,0,1", "line 3: z_m must be finite, got 'nan'"),
        ("0,0,0,0,0,0,0,1\n0,0,0,0,0,0,0,1", "line 3: time_s must rise from row to row, got 0 after 0"),
        ("0,0,0,0,0,0,0,1", "a path needs at least two rows, got 1"),
    ],
)
def test_bad_rows_give_one_sentence(tmp_path: Path, rows: str, words: str) -> None:
    way = tmp_path / "way.csv"
    way.write_text(HEAD + rows)
    with pytest.raises(ValueError, match="way.csv") as caught:
        follow(way, {FEATURE: np.eye(4)[None]}, HZ)
    assert str(caught.value).startswith(str(way))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_camera_path(tmp_path: Path) -> None:
    way = tmp_path / "way.csv"
    for text, words in (
        ("time_s,x_m,y_m,yaw_rad\n0,0,0,0\n", "no column 'z_m'; the first line must name time_s,x_m,y_m,z_m,qx"),
        (None, "not a readable CSV file"),
    ):
        way.unlink() if text is None else way.write_text(text)
        with pytest.raises(ValueError, match=f"way.csv: {words}"):
            follow(way, {FEATURE: np.eye(4)[None]}, HZ)


def viewer_export(path: Path, poses_T44: np.ndarray, **clock: object) -> Path:
    """What the nerfstudio viewer writes of these poses."""
    opengl_T44 = poses_T44 @ np.diag([1.0, -1, -1, 1])
    frames = [{"camera_to_world": pose.flatten().tolist(), "fov": 50, "aspect": 1.0} for pose in opengl_T44]
    path.write_text(json.dumps({"camera_type": "perspective", "camera_path": frames, **clock}))
    return path


@pytest.mark.parametrize("clock", [{"fps": 20, "seconds": 99}, {"seconds": 1.5}])
def test_a_path_of_the_nerfstudio_viewer_is_the_same_way(tmp_path: Path, clock: dict[str, object]) -> None:
    poses_T44, last = walk(30), {FEATURE: START[None]}
    csv = follow(camera_way(tmp_path / "way.csv", poses_T44, np.arange(30) / 20), last, HZ)
    exported = follow(viewer_export(tmp_path / "camera_path.json", poses_T44, **clock), last, HZ)
    np.testing.assert_allclose(exported[0][FEATURE], csv[0][FEATURE], atol=1e-9)
    for name, values_T in csv[1].items():
        np.testing.assert_allclose(exported[1][name], values_T, atol=1e-9)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[]", '"camera_path" must be a list of at least two frames'),
        ('{"camera_path": [{}]}', '"camera_path" must be a list of at least two frames'),
        ('{"camera_path": [{}, {}], "fps": 10}', r"camera_path\[0\]: camera_to_world must be 16 numbers"),
        ('{"camera_path": [{"camera_to_world": [1]}, {}]}', r"camera_path\[0\]: camera_to_world must be 16 numbers"),
        ("{", "not valid JSON"),
    ],
)
def test_a_json_file_that_is_no_camera_path(tmp_path: Path, value: str, words: str) -> None:
    way = tmp_path / "camera_path.json"
    way.write_text(value)
    with pytest.raises(ValueError, match=f"camera_path.json: {words}"):
        follow(way, {FEATURE: np.eye(4)[None]}, HZ)


def test_a_viewer_path_needs_a_clock_and_no_half_turns(tmp_path: Path) -> None:
    last, way = {FEATURE: np.eye(4)[None]}, tmp_path / "camera_path.json"
    for clock, got in (({}, "None"), ({"fps": 0}, "0"), ({"fps": "10"}, "'10'")):
        with pytest.raises(ValueError, match=f'camera_path.json: "fps" must be a number above 0, got {got}'):
            follow(viewer_export(way, walk(3), **clock), last, HZ)
    back = np.stack([np.eye(4), np.diag([-1.0, 1, -1, 1])])
    with pytest.raises(ValueError, match=r"camera_path.json: camera_path\[1\]: half a turn since the row before"):
        follow(viewer_export(way, back, fps=10), last, HZ)
    with pytest.raises(ValueError, match="camera_path.json: the matrix of frame 1 is no rotation and translation"):
        follow(viewer_export(way, np.stack([np.eye(4), np.diag([2.0, 1, 1, 1])]), fps=10), last, HZ)
