"""What episodes record: shapes, determinism, actions, ego path, camera path."""

import numpy as np
import pytest

from tests.worlds.conftest import NAMES, SHORT
from worlds.cameras import pose, rotation_from_euler
from worlds.record import Episode, Settings, episode_rng


@pytest.mark.parametrize("name", NAMES)
def test_shapes(episodes: dict[str, Episode], name: str) -> None:
    episode = episodes[name]
    num_views = 3 if name == "street" else 1
    assert episode.video_VTHWC.shape == (num_views, 5, 32, 32, 3)
    assert episode.video_VTHWC.dtype == np.uint8
    assert len(episode.views) == num_views
    assert episode.camera_features["camera.intrinsics"].shape == (num_views, 4)
    assert episode.camera_features["camera.world_from_camera"].shape == (num_views, 5, 4, 4)
    assert episode.caption
    assert episode.instruction
    for values in episode.features.values():
        assert len(values) == 5
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_pictures(episodes: dict[str, Episode], name: str) -> None:
    video = episodes[name].video_VTHWC
    assert video.std() > 15
    assert 30 < video.mean() < 225


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_is_a_function_of_its_arguments(episodes: dict[str, Episode], name: str) -> None:
    from worlds.render import render_episode

    again, other = render_episode(name, 0, SHORT, 3), render_episode(name, 1, SHORT, 3)
    np.testing.assert_array_equal(again.video_VTHWC, episodes[name].video_VTHWC)
    for key, values in episodes[name].features.items():
        np.testing.assert_array_equal(again.features[key], values)
    assert (other.video_VTHWC != again.video_VTHWC).mean() > 0.2


@pytest.mark.parametrize("name", NAMES)
def test_the_heldout_look_is_another(episodes: dict[str, Episode], name: str) -> None:
    from worlds.render import render_episode

    heldout = render_episode(name, 0, Settings(look="heldout", num_frames=2, size_px=32), 3)
    colours = [video.reshape(-1, 3).mean(0) for video in (heldout.video_VTHWC, episodes[name].video_VTHWC)]
    assert np.abs(colours[0] - colours[1]).max() > 12


def test_actions_lead_from_the_first_state_to_the_last(episodes: dict[str, Episode]) -> None:
    state_T7 = episodes["tabletop"].features["observation.state"]
    action_T7 = episodes["tabletop"].features["action"]
    reached = pose(rotation_from_euler(*state_T7[0, 3:6]), state_T7[0, :3])
    for action in action_T7[:-1]:
        reached = reached @ pose(rotation_from_euler(*action[3:6]), action[:3])
    wanted = pose(rotation_from_euler(*state_T7[-1, 3:6]), state_T7[-1, :3])
    np.testing.assert_allclose(reached, wanted, atol=1e-5)
    np.testing.assert_array_equal(action_T7[:-1, 6], state_T7[1:, 6])
    np.testing.assert_allclose(action_T7[-1, :6], 0, atol=1e-6)


def test_a_push_moves_the_named_object_in_the_named_direction(renderer: None) -> None:
    from worlds import tabletop

    episode = tabletop.episode(0, 6, Settings(num_frames=33, size_px=8))
    assert episode.instruction == "push the yellow ball to the left"
    names = [name.strip() for name in episode.caption.split("with ")[1].replace(" and", ",").split(",")]
    positions_T3 = episode.features["objects.pose"][:, names.index("a yellow ball"), :3]
    to_right = episode.camera_features["camera.world_from_camera"][0, 0, :3, 0]
    assert (positions_T3[-1] - positions_T3[0]) @ to_right < -0.04


def test_the_rig_is_fixed_to_the_ego_car(episodes: dict[str, Episode]) -> None:
    from worlds.street import ego_from_camera

    ego_T44 = episodes["street"].features["ego.world_from_ego"]
    for view, camera_T44 in zip(
        episodes["street"].views, episodes["street"].camera_features["camera.world_from_camera"], strict=True
    ):
        np.testing.assert_allclose(
            np.linalg.inv(ego_T44) @ camera_T44, np.tile(ego_from_camera(view), (5, 1, 1)), atol=1e-4
        )


def test_the_ego_car_heads_along_its_path() -> None:
    pytest.importorskip("mujoco", reason="the street needs MuJoCo: pip install -e '.[worlds]'")
    from worlds import street

    for index in range(20):
        rng = episode_rng("street", "base", 5, index)
        road = street.Road(rng, float(rng.uniform(-0.035, 0.035)))
        drive = street.draw_drive(rng, 0.0, Settings())
        ego_T44 = street.ego_poses(road, drive)
        steps = np.diff(ego_T44[:, :3, 3], axis=0)
        speed_mps = np.linalg.norm(steps, axis=1) * 10
        assert (ego_T44[:, 2, 3] == 0).all()
        assert speed_mps.max() < 14
        along = np.einsum("ti,ti->t", steps, ego_T44[:-1, :3, 0])
        assert (along / np.linalg.norm(steps, axis=1) > np.cos(np.radians(8))).all()


def test_the_camera_keeps_clear_of_furniture(renderer: None) -> None:
    from worlds import furniture, room_look, rooms
    from worlds.scene import Scene

    for index in range(3):
        rng = episode_rng("rooms", "base", 5, index)
        half = np.array([2.5, 2.2])
        _, obstacles = furniture.furnish(Scene(extent_m=4, centre=(0, 0, 1)), room_look.draw(rng, "base"), half, rng)
        path = rooms.draw_path(rng, half, obstacles, Settings())
        assert rooms.is_clear(path.positions[:, :2], half, obstacles)
        assert np.linalg.norm(np.diff(path.positions, axis=0), axis=1).max() < 0.12


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"look": "night"}, "look must be"), ({"num_frames": 1}, "num_frames >= 2"), ({"fps_hz": 0.0}, "fps_hz > 0")],
)
def test_bad_settings(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(**wrong)
