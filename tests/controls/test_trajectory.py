"""Ego paths: on the latent grid, into both families, back from what was read, and out of CSV files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.autoregressive import toy as ar_toy
from tests.diffusion import toy as diffusion_toy
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.ego_csv import read_csv, world_from_ego
from worldtune.contract.nouns import Clip, Grid
from worldtune.controls import trajectory
from worldtune.controls.trajectory import obedience
from worldtune.controls.trajectory.path import accumulate

R, FPS_HZ = 4, 10.0
GRID = Grid(views=2, frames=4, height=2, width=2, frames_per_latent=R, pixels_per_latent=8)


def circle(num_frames: int, *, speed_mps: float = 5.0, rate_radps: float = 0.4, heading: float = 2.0) -> np.ndarray:
    """Poses on a circle, driven at constant speed, far from the origin."""
    time = np.arange(num_frames) / FPS_HZ
    yaw, radius = heading + rate_radps * time, speed_mps / rate_radps
    poses = np.tile(np.eye(4), (num_frames, 1, 1))
    poses[:, 0, 0], poses[:, 0, 1], poses[:, 1, 0], poses[:, 1, 1] = np.cos(yaw), -np.sin(yaw), np.sin(yaw), np.cos(yaw)
    poses[:, 0, 3] = 300 + radius * (np.sin(yaw) - np.sin(heading))
    poses[:, 1, 3] = -70 - radius * (np.cos(yaw) - np.cos(heading))
    return poses


def clip_of(poses: np.ndarray) -> Clip:
    return Clip(
        id="toy",
        video_VTHWC=np.zeros((2, len(poses), 16, 16, 3), np.uint8),
        fps_hz=FPS_HZ,
        views=("a", "b"),
        texts=("", ""),
        features={"ego.world_from_ego": poses},
    )


def aligned(poses: np.ndarray) -> dict[str, np.ndarray]:
    return trajectory.align(clip_of(poses), GRID)


def batched(*clips: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([clip[name] for clip in clips])) for name in clips[0]}


def close(got: torch.Tensor, wanted: torch.Tensor, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(got.detach(), wanted.detach(), atol=atol, rtol=1e-5)


def test_motion_is_the_chord_of_the_circle():
    motion = aligned(circle(13))["motion"]
    for row, seconds in ((0, R / FPS_HZ), (3, 1 / FPS_HZ)):
        angle = 0.4 * seconds
        chord = 2 * (5.0 / 0.4) * np.sin(angle / 2)
        wanted = [chord * np.cos(angle / 2), chord * np.sin(angle / 2), angle]
        np.testing.assert_allclose(motion[1:, row], [wanted] * 3, atol=1e-4)
    assert not motion[0].any()


def test_latent_frame_k_shows_pixel_frames_before_and_up_to_kr():
    poses = np.tile(np.eye(4), (13, 1, 1))
    poses[5:, 0, 3] = 1.0  # one metre, between pixel frames 4 and 5: the first sub-step of latent frame 2
    motion = aligned(poses)["motion"]
    expected = np.zeros_like(motion)
    expected[2, 0, 0] = expected[2, 1, 0] = 1.0
    np.testing.assert_array_equal(motion, expected)


def test_the_path_starts_at_its_own_moment_and_is_held_beyond_the_clip():
    arrays = aligned(circle(13))
    path, known = arrays["path"], arrays["path_known"]
    assert known.sum(1).tolist() == [12, 8, 4, 0]
    np.testing.assert_allclose(path[0, 3, :2], arrays["motion"][1, 0, :2], atol=1e-4)  # 0.4 s is one latent frame
    np.testing.assert_allclose(path[0, :4], path[1, :4], atol=1e-4)  # a circle looks the same from everywhere on it
    np.testing.assert_array_equal(path[0, 12:], np.tile(path[0, 11], (52, 1)))
    np.testing.assert_allclose(path[3], 0, atol=1e-4)


def test_steps_add_up_to_the_path():
    arrays = aligned(circle(13))
    np.testing.assert_allclose(accumulate(arrays["motion"][1:, 0])[:, :2], arrays["path"][0, [3, 7, 11], :2], atol=1e-4)


def test_errors_are_distances_after_the_given_frames():
    commanded = obedience.targets(aligned(circle(13)))
    exact = obedience.errors(commanded, commanded, 1)
    assert exact.keys() == obedience.MEASURES.keys()
    assert exact == {"tfe_m": 0.0, "path_end_m": 0.0}
    straight = np.array([[9, 9, 9], [2, 0, 0], [2, 0, 0], [2, 0, 0]], np.float32)
    slower = straight - np.array([0, 0, 0], np.float32)
    slower[1:, 0] = 1.0
    assert obedience.errors(slower, straight, 1) == pytest.approx({"tfe_m": 2.0, "path_end_m": 3.0})
    assert obedience.errors(slower, straight, 2) == pytest.approx({"tfe_m": 1.5, "path_end_m": 2.0})


def test_dropped_is_zeros_and_standing_still_is_not_dropped():
    still = aligned(np.tile(np.eye(4), (13, 1, 1)))
    arrays = batched(still, aligned(circle(13)))
    encoder = trajectory.encoder(arrays, trajectory.Config())
    condition = encoder(arrays, torch.tensor([True, False]))
    assert condition.frame_BVTD is not None
    assert condition.widths == encoder.widths
    assert condition.frame_BVTD[0, 0, :, 0].eq(1).all()
    assert not condition.frame_BVTD[1].any()


@pytest.mark.parametrize(("kind", "width"), [("motion", 1 + 15), ("path", 1 + 256), ("both", 1 + 15 + 256)])
def test_kinds_have_their_width_and_the_scale_of_one(kind: str, width: int):
    arrays = batched(aligned(circle(13, speed_mps=10, rate_radps=0.5)))
    condition = trajectory.encoder(arrays, trajectory.Config(kind=kind, pose=False))(
        arrays, torch.ones(1, dtype=torch.bool)
    )
    assert condition.widths == Widths(frame=width)
    if kind != "path":
        assert condition.frame_BVTD is not None
        close(condition.frame_BVTD[0, 0, 1, 4:7], torch.tensor([1.0, 0.125, 1.0]), atol=1e-2)


def test_poses_are_seen_from_the_first_frame():
    arrays = aligned(circle(13, speed_mps=10, rate_radps=0.5))
    assert not arrays["pose"][0].any()
    close(
        torch.from_numpy(arrays["pose"][1:].reshape(-1, 3)),
        torch.from_numpy(accumulate(arrays["motion"][1:, 1:].reshape(-1, 3))).float(),
        atol=1e-4,
    )
    told = trajectory.encoder(batched(arrays), trajectory.Config(kind="motion"))
    condition = told(batched(arrays), torch.ones(1, dtype=torch.bool))
    assert condition.widths == told.widths == Widths(frame=1 + 15 + 12)
    assert condition.frame_BVTD is not None
    end_m = condition.frame_BVTD[0, 0, -1, -3:] * torch.tensor(trajectory.POSE_SCALE)
    close(end_m, torch.from_numpy(arrays["pose"][-1, -1]), atol=1e-5)


def test_a_cache_without_poses_is_told_to_be_made_again():
    arrays = batched(aligned(circle(13)))
    del arrays["pose"]
    with pytest.raises(ValueError, match="cache was made without poses: prepare it again"):
        trajectory.encoder(arrays, trajectory.Config())
    assert trajectory.encoder(arrays, trajectory.Config(pose=False)).widths.frame == 1 + 15 + 256


def conditions() -> tuple[Condition, Condition]:
    """A path and another one."""
    arrays = batched(aligned(circle(13)), aligned(circle(13)))
    others = batched(aligned(circle(13, rate_radps=-0.4)), aligned(circle(13, speed_mps=9)))
    encoder, keep_B = trajectory.encoder(arrays, trajectory.Config()), torch.ones(2, dtype=torch.bool)
    return encoder(arrays, keep_B).on_grid(2, 4, 8, 12), encoder(others, keep_B).on_grid(2, 4, 8, 12)


def test_diffusion_starts_at_its_base_and_learns_to_look():
    one, other = conditions()
    given = diffusion_toy.inputs(diffusion_toy.TOY, views=2)
    given["x_BVTHWC"] = torch.randn(2, 2, 4, 8, 12, 4)
    network = diffusion_toy.network(diffusion_toy.TOY, one.widths)
    base = diffusion_toy.network(diffusion_toy.TOY)
    close(network(**given, frame_BVTD=one.frame_BVTD), base(**given))
    diffusion_toy.randomise(network.frame_injection)
    assert not torch.allclose(
        network(**given, frame_BVTD=one.frame_BVTD), network(**given, frame_BVTD=other.frame_BVTD)
    )


def test_autoregressive_starts_at_its_base_and_learns_to_look():
    (one, other), tokens = conditions(), ar_toy.tokens(views=2, frames=4).flatten(1)
    network = ar_toy.model(ar_toy.TOY, one.widths)
    layout = network.layout(2, 4, 3, 4)

    def logits(condition: Condition) -> torch.Tensor:
        return network(tokens, network.guide(layout, frame_BVTC=condition.frame_BVTD))

    assert not torch.allclose(logits(one), logits(other))
    network.frame_injection.reset_parameters()
    base = ar_toy.model(ar_toy.TOY)
    base.load_state_dict({name: value for name, value in network.state_dict().items() if name in base.state_dict()})
    close(logits(one), base(tokens, base.guide(layout)))


def test_wrong_poses_are_refused():
    good = circle(13)
    camera_axes = good @ np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    for poses, words in (
        (good[:12], "12 poses for 13 frames"),
        (good.swapaxes(1, 2), "last row of a pose must be 0 0 0 1"),
        (good * np.array([2.0, 2, 2, 1])[:, None], "frame 0 is no rotation and translation"),
        (camera_axes, "z of the ego frame must point up"),
        (np.where(good == 0, np.nan, good), "not finite"),
    ):
        with pytest.raises(ValueError, match=f"clip toy: ego.world_from_ego: .*{words}"):
            aligned(poses)
    with pytest.raises(ValueError, match="control.trajectory.kind must be one of motion, path, both, got 'paht'"):
        trajectory.Config(kind="paht")


def test_a_csv_path_becomes_poses(tmp_path: Path):
    poses = circle(13, heading=3.0)  # yaw passes pi on the way
    yaw = np.arctan2(poses[:, 1, 0], poses[:, 0, 0])
    lines = ["time_s, x_m,y_m,note,yaw_rad"]
    lines += [f"{i / FPS_HZ},{x},{y},ok,{a}" for i, (x, y, a) in enumerate(zip(*poses[:, :2, 3].T, yaw, strict=True))]
    path = tmp_path / "path.csv"
    path.write_text("\n".join(lines))
    table = read_csv(path)
    np.testing.assert_allclose(world_from_ego(table, np.arange(13) / FPS_HZ), poses, atol=1e-4)
    between = world_from_ego(table, np.array([0.35]))
    np.testing.assert_allclose(between[0, :3, 3], (poses[3, :3, 3] + poses[4, :3, 3]) / 2, atol=1e-4)
    with pytest.raises(ValueError, match=r"covers 0..1.2 s, but 1.5 s"):
        world_from_ego(table, np.array([0.5, 1.5]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time_s,x_m,y_m\n0,0,0\n1,0,0", "no column 'yaw_rad'; the first line must name time_s,x_m,y_m,yaw_rad"),
        ("time_s,x_m,y_m,yaw_rad\n0,0,0,0\n1,one,0,0", "line 3: x_m must be a number, got 'one'"),
        ("time_s,x_m,y_m,yaw_rad\n0,0,0,0\n1,0,0", "line 3: yaw_rad must be a number, got None"),
        ("time_s,x_m,y_m,yaw_rad\n0,0,0,0\n1,0,inf,0", "line 3: y_m must be finite, got 'inf'"),
        ("time_s,x_m,y_m,yaw_rad\n0,0,0,0\n1,0,0,0\n1,0,0,0", "line 4: time_s must rise from row to row, got 1"),
        ("time_s,x_m,y_m,yaw_rad\n0,0,0,0", "a path needs at least two rows, got 1"),
        ("", "no column 'time_s'"),
    ],
)
def test_bad_csv_rows_give_one_sentence(tmp_path: Path, text: str, words: str):
    path = tmp_path / "path.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="path.csv") as caught:
        read_csv(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
