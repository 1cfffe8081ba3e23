"""Recorded geometry agrees with the pixels."""

import numpy as np
import pytest

from worlds.cameras import euler_from_rotation, intrinsics, look_at, project, rotation_from_euler
from worlds.record import Settings

POSES = [
    ((1.0, -0.4, 0.9), (0.1, 0.05, 0.2)),
    ((-0.7, 1.1, 0.3), (0.0, -0.15, 0.35)),
    ((0.2, 0.3, 1.4), (0.1, 0.2, 0.1)),
]


@pytest.mark.parametrize(("position", "target"), POSES)
def test_a_known_point_is_found_where_it_projects(
    renderer: None, position: tuple[float, ...], target: tuple[float, ...]
) -> None:
    from worlds.scene import SPHERE, Scene, Stage

    point = np.array([0.12, -0.08, 0.21])
    scene = Scene(extent_m=1.5, centre=(0, 0, 0))
    scene.part(SPHERE, (0.03,), point, scene.material(rgba=(1, 1, 1, 1), emission=1.0))
    view = look_at(np.array(position), np.array(target))
    with Stage(scene, fovy_deg=50, size_px=64) as stage:
        stage.settle()
        bright = stage.photograph(view).astype(float).sum(-1)
    rows, columns = np.indices(bright.shape) + 0.5
    found = np.array([(columns * bright).sum(), (rows * bright).sum()]) / bright.sum()
    assert np.abs(found - project(point, intrinsics(50, 64), view)).max() < 0.25


def test_a_ball_on_the_table_is_found_where_its_pose_projects(renderer: None) -> None:
    from worlds import tabletop

    episode = tabletop.episode(0, 7, Settings(num_frames=2))
    assert "a green ball" in episode.caption
    index = [name.strip() for name in episode.caption.split("with ")[1].replace(" and", ",").split(",")].index(
        "a green ball"
    )
    frame = episode.video_VTHWC[0, 0].astype(float)
    green = np.clip(frame[..., 1] - np.maximum(frame[..., 0], frame[..., 2]) - 20, 0, None)
    rows, columns = np.indices(green.shape) + 0.5
    found = np.array([(columns * green).sum(), (rows * green).sum()]) / green.sum()
    lens, view = (episode.camera_features[f"camera.{n}"][0] for n in ("intrinsics", "world_from_camera"))
    centre = episode.features["objects.pose"][0, index, :3]
    assert np.abs(found - project(centre, lens, view[0])).max() < 1.5


def test_look_at_sees_its_target_in_the_centre() -> None:
    view = look_at(np.array([2.0, 1.0, 1.5]), np.array([0.3, 0.2, 0.1]))
    np.testing.assert_allclose(project(np.array([0.3, 0.2, 0.1]), intrinsics(60, 64), view), [32, 32])
    np.testing.assert_allclose(view[:3, :3].T @ view[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(view[:3, :3]) == pytest.approx(1)
    assert view[2, 1] < 0, "y points down"


def test_a_point_behind_the_camera_is_an_error() -> None:
    with pytest.raises(ValueError, match="behind the camera"):
        project(np.array([9.0, 0, 0]), intrinsics(60, 64), look_at(np.array([2.0, 0, 0]), np.zeros(3)))


def test_euler_angles_round_trip() -> None:
    angles = np.array([0.3, -0.7, 2.1])
    np.testing.assert_allclose(euler_from_rotation(rotation_from_euler(*angles)), angles)
