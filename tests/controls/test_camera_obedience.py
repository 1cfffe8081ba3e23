"""Errors of a camera path, by hand."""

import numpy as np
import pytest

from tests.controls.test_camera import aligned, pose, wandering
from worldtune.contract.nouns import Grid
from worldtune.controls.camera import obedience
from worldtune.controls.camera.obedience import errors, rotation_vectors, rotations, targets


def test_rotation_vectors_undo_rotations_even_for_tiny_and_half_turns():
    random = np.random.default_rng(0)
    axes = random.normal(size=(200, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    for angle_rad in (0.0, 1e-9, 1e-4, 0.5, 2.0, np.pi - 1e-6):
        assert np.allclose(rotation_vectors(rotations(angle_rad * axes)), angle_rad * axes, atol=1e-9), angle_rad
    assert np.allclose(np.linalg.norm(rotation_vectors(rotations(np.pi * axes)), axis=1), np.pi)


def test_targets_are_the_motion_between_the_last_frames_of_latent_frames():
    """Frame 4 looks along x of frame 0; frame 8 is 2 m ahead of it."""
    poses = np.broadcast_to(np.eye(4), (1, 9, 4, 4)).copy()
    poses[0, 1:4] = wandering()[0, 1:4]
    poses[0, 4] = pose((0, np.pi / 2, 0), (0.5, 0, 0))
    poses[0, 8] = pose((0, np.pi / 2, 0), (2.5, 0, 0))
    wanted = [[0] * 6, [0, np.pi / 2, 0, 0.5, 0, 0], [0, 0, 0, 0, 0, 2]]
    found = targets({name: array.numpy() for name, array in aligned(poses).items()})
    assert found.dtype == np.float32
    assert np.allclose(found, wanted, atol=1e-6)


def test_every_view_has_its_own_six_numbers():
    grid = Grid(views=2, frames=3, height=3, width=4, frames_per_latent=4, pixels_per_latent=8)
    poses = wandering(views=2)
    found = targets(aligned(poses, grid))
    assert found.shape == (3, 12)
    assert np.allclose(found[:, 6:], targets(aligned(poses[1:])), atol=1e-5)


def test_errors_by_hand():
    """Three steps of 1 m ahead are commanded. Read: a right turn of 90 degrees in the first, and 1 m ahead each."""
    commanded = np.array([[0] * 6, [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]], float)
    read = commanded.copy()
    read[1, 1] = np.pi / 2
    read[0] = np.nan
    found = errors(read, commanded, 1)
    # Places read: (0,0,1), (1,0,1), (2,0,1) where (0,0,1), (0,0,2), (0,0,3) were commanded.
    assert found["camera_path_rotation_deg"] == pytest.approx(90)
    assert found["camera_path_translation_m"] == pytest.approx((0 + 2**0.5 + 8**0.5) / 3)
    assert found["camera_step_rotation_deg"] == pytest.approx(30)
    assert found["camera_step_translation_m"] == pytest.approx(0)
    assert found.keys() == obedience.MEASURES.keys()


def test_observed_steps_do_not_count():
    commanded = targets(aligned(wandering()))
    read = commanded.copy()
    read[1] += 1
    assert max(errors(read, commanded, 2).values()) < 1e-4
    assert min(errors(read, commanded, 1).values()) > 1e-2
    assert errors(read, commanded, 0) == errors(read, commanded, 1)


def test_a_video_that_stands_still_is_as_wrong_as_the_path_is_long():
    commanded = np.zeros((3, 6))
    commanded[1:, 5] = 0.5
    assert errors(np.zeros((3, 6)), commanded, 1)["camera_path_translation_m"] == pytest.approx(0.75)


def test_nothing_to_judge_is_said():
    with pytest.raises(ValueError, match="all 3 latent frames are observed"):
        errors(np.zeros((3, 6)), np.zeros((3, 6)), 3)
    with pytest.raises(ValueError, match=r"read is \[3, 6\], commanded \[3, 12\]"):
        errors(np.zeros((3, 6)), np.zeros((3, 12)), 1)
