"""The camera control: poses on the latent grid, rays and motion by hand, and its way into both families.

Shape legend: V views, T frames, R pixel frames of one latent frame.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.autoregressive import toy as ar_toy
from tests.diffusion import toy as dit_toy
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Batch, Clip, Grid
from worldtune.contract.randomness import generator
from worldtune.controls import camera, text
from worldtune.controls.camera.obedience import rotations
from worldtune.dataset import Dataset, Episode, Window, write_dataset
from worldtune.families import autoregressive, diffusion
from worldtune.families.autoregressive import weights as ar_weights
from worldtune.families.diffusion import weights as dit_weights
from worldtune.training.batches import with_foreign

R, LENS_PX = 4, (20.0, 24.0, 15.0, 10.0)
GRID = Grid(views=1, frames=3, height=3, width=4, frames_per_latent=R, pixels_per_latent=8)
KEEP = torch.tensor([True])


def pose(rotation_vector_rad: object = (0, 0, 0), place_m: object = (0, 0, 0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotations(np.array(rotation_vector_rad, float)), place_m
    return matrix


def wandering(seed: int = 0, views: int = 1, frames: int = 9) -> np.ndarray:
    """Any poses, [V,T,4,4]."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(views, frames, 6))
    return np.stack([[pose(n[:3], n[3:]) for n in view] for view in numbers])


def clip(poses: np.ndarray, lens: object = LENS_PX, size_px: tuple[int, int] = (24, 32)) -> Clip:
    views, frames = poses.shape[:2]
    return Clip(
        id="data-000000-000000",
        video_VTHWC=np.zeros((views, frames, *size_px, 3), np.uint8),
        fps_hz=10.0,
        views=tuple(map(str, range(views))),
        texts=("",) * views,
        features={
            camera.WORLD_FROM_CAMERA: poses.astype(np.float32),
            camera.INTRINSICS: np.broadcast_to(np.array(lens, np.float32), (views, frames, 4)),
        },
    )


def aligned(poses: np.ndarray, grid: Grid = GRID, lens: object = LENS_PX) -> dict[str, torch.Tensor]:
    arrays = camera.align(clip(poses, lens), grid)
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def batched(*clips: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([one[name] for one in clips]) for name in clips[0]}


def condition(poses: np.ndarray, **setting: object) -> Condition:
    """Of a batch of one, not fitted: units are 1."""
    arrays = aligned(poses)
    return camera.encoder(arrays, camera.Config(**setting))(batched(arrays), KEEP)


def rays_of(poses: np.ndarray) -> torch.Tensor:
    """[T,H,W,R,6]."""
    dense = condition(poses, inject="rays").dense_BVTHWC
    return dense[0, 0, ..., :-1].unflatten(-1, (R, 6))


def test_a_known_pose_gives_the_known_ray():
    """The camera looks along x of the first camera's axes and stands 2 m to its right and 1 m ahead."""
    poses = np.broadcast_to(np.eye(4), (1, 9, 4, 4)).copy()
    poses[0, 3] = pose((0, np.pi / 2, 0), (2, 0, 1))
    found = rays_of(poses)
    # Cell (row 2, column 1) has its centre at (12, 20) px: the ray is (-3/20, 10/24, 1) before it is turned.
    x, y, z = -3 / 20, 10 / 24, 1.0
    wanted = np.array([z, y, -x]) / np.sqrt(x * x + y * y + z * z)
    torch.testing.assert_close(found[1, 2, 1, 2, :3], torch.tensor(wanted, dtype=torch.float32))
    torch.testing.assert_close(found[1, 2, 1, 2, 3:], torch.tensor(np.cross([2, 0, 1], wanted), dtype=torch.float32))
    still = np.array([x, y, z]) / np.sqrt(x * x + y * y + z * z)
    torch.testing.assert_close(found[1, 2, 1, 1], torch.tensor([*still, 0, 0, 0], dtype=torch.float32))


def test_a_ray_meets_every_point_that_its_cell_shows():
    """Any point in front of any camera projects to px; the ray through that px, by its six numbers, holds the point."""
    poses = wandering(1)
    random = np.random.default_rng(2)
    first_from_camera = np.linalg.inv(poses[0, 0]) @ poses[0, 6]
    fx, fy, cx, cy = LENS_PX
    for row, column in ((0, 0), (2, 3), (1, 2)):
        depth = random.uniform(1, 5)
        seen = depth * np.array([(8 * column + 4 - cx) / fx, (8 * row + 4 - cy) / fy, 1, 1 / depth])
        point = torch.tensor((first_from_camera @ seen)[:3], dtype=torch.float32)
        direction, moment = rays_of(poses)[2, row, column, 1].split(3)
        torch.testing.assert_close(torch.linalg.cross(point, direction), moment, atol=1e-4, rtol=1e-4)


def test_moving_the_whole_world_changes_nothing():
    here = condition(wandering(3))
    there = condition(pose((0.3, -1, 2), (3, -2, 1)) @ wandering(3))
    torch.testing.assert_close(here.dense_BVTHWC, there.dense_BVTHWC, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(here.frame_BVTD, there.frame_BVTD, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("frame", "row", "place"), [(1, 1, 0), (4, 1, 3), (5, 2, 0), (8, 2, 3)])
def test_every_pose_lands_on_the_latent_frame_that_shows_it(frame: int, row: int, place: int):
    poses = np.broadcast_to(np.eye(4), (1, 9, 4, 4)).copy()
    still = rays_of(poses)
    poses[0, frame] = pose((0, 0, 0), (1, 0, 0))
    changed = (rays_of(poses) != still).any(-1).flatten(1, 2).any(1)
    assert changed.nonzero().tolist() == [[row, place]]
    last = condition(poses, inject="rays", rays="last").dense_BVTHWC
    assert (last[0, 0, ..., 3:6].abs().amax((1, 2, 3)) > 0).tolist() == [row == t and place == 3 for t in range(3)]


def test_the_first_latent_frame_repeats_its_one_pose():
    found = aligned(wandering(views=2), Grid(**{**vars(GRID), "views": 2}))
    torch.testing.assert_close(found["first_from_camera"][0, 0], torch.eye(4).expand(R, 4, 4))
    assert torch.equal(found["first_from_camera"][1, 0, 0], found["first_from_camera"][1, 0, 3])
    assert not torch.allclose(found["first_from_camera"][1, 0, 0], torch.eye(4)), "views share one origin"


def test_motion_is_seen_from_where_the_last_latent_frame_ended():
    """The camera at frame 4 looks along x; 1 m further along x is 1 m ahead for it."""
    poses = np.broadcast_to(pose((0, np.pi / 2, 0)), (1, 9, 4, 4)).copy()
    poses[0, :4] = np.eye(4)
    poses[0, 5:] = pose((0, np.pi / 2, 0), (1, 0, 0))
    rotation, moved = condition(poses, inject="vector").frame_BVTD[0, 0, :, :-1].split([9 * R, 3 * R], -1)
    torch.testing.assert_close(moved.unflatten(-1, (R, 3))[2], torch.tensor([0.0, 0, 1]).expand(R, 3))
    assert not moved[:2].any()
    assert rotation[2].abs().max() < 1e-6
    quarter = torch.tensor([[-1.0, 0, 1], [0, 0, 0], [-1, 0, -1]])
    torch.testing.assert_close(rotation.unflatten(-1, (R, 3, 3))[1, 3], quarter)
    assert rotation.unflatten(-1, (R, 9))[1, :3].abs().max() < 1e-6


def test_the_lens_follows_crop_and_resize(tmp_path: Path):
    """The same ray, whether the video is stored large or cut and halved by the reader: rays see what pixels show."""
    poses = wandering(4, frames=9)
    for name, size_px, lens in (("large", (48, 96), (40.0, 48.0, 46.0, 20.0)), ("small", (24, 32), (20, 24, 15, 10))):
        one = clip(poses, lens, size_px)
        recorded = Episode(name="a", videos={"m": one.video_VTHWC[0]}, fps_hz=10, texts="", features=one.features)
        write_dataset(tmp_path / name, [recorded], fps_hz=10)
    window = Window(num_frames=9, height_px=24, width_px=32)
    read = [Dataset.open(tmp_path / name).read_clip(0, 0, window) for name in ("large", "small")]
    large, small = (camera.align(one, GRID) for one in read)
    assert np.allclose(large["lens"], np.array([20, 24, 15, 10]) / 8)
    assert all(np.allclose(large[name], small[name]) for name in small)


def test_whole_numbers_of_px_survive_a_resize(tmp_path: Path):
    one = clip(wandering(4), (45, 45, 31, 21), (48, 64))
    features = {**one.features, camera.INTRINSICS: one.features[camera.INTRINSICS].astype(np.int64)}
    recorded = Episode(name="a", videos={"m": one.video_VTHWC[0]}, fps_hz=10, texts="", features=features)
    dataset = Dataset.open(write_dataset(tmp_path / "d", [recorded], fps_hz=10))
    found = dataset.read_clip(0, 0, Window(num_frames=9, height_px=24, width_px=32)).features[camera.INTRINSICS]
    assert found[0, 0].tolist() == [22.5, 22.5, 15.5, 10.5]


def test_a_slower_window_keeps_the_poses_of_the_frames_it_shows(tmp_path: Path):
    one = clip(wandering(5, frames=18))
    recorded = Episode(name="a", videos={"m": one.video_VTHWC[0]}, fps_hz=10, texts="", features=one.features)
    dataset = Dataset.open(write_dataset(tmp_path / "d", [recorded], fps_hz=10))
    read = dataset.read_clip(0, 1, Window(num_frames=9, height_px=24, width_px=32, fps_hz=5))
    found = camera.align(read, GRID)["first_from_camera"]
    wanted = aligned(one.features[camera.WORLD_FROM_CAMERA][:, 1::2])["first_from_camera"]
    assert np.allclose(found, wanted, atol=1e-5)


def scaled(factor: float) -> np.ndarray:
    poses = wandering(6)
    poses[..., :3, 3] *= factor
    return poses


def test_scale_of_a_clip_or_of_all_clips():
    by_clip = [condition(scaled(factor), scale="clip") for factor in (1, 7)]
    torch.testing.assert_close(by_clip[0].dense_BVTHWC, by_clip[1].dense_BVTHWC, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(by_clip[0].frame_BVTD, by_clip[1].frame_BVTD, atol=1e-4, rtol=1e-4)
    clips = [aligned(scaled(factor)) for factor in (1, 7)]
    encoder = camera.encoder(clips[0], camera.Config(scale="metric"))
    encoder.fit(iter(clips))
    near, far = (one.unflatten(-1, (R, 6))[..., 3:] for one in encoder(batched(*clips), KEEP).dense_BVTHWC[..., :-1])
    torch.testing.assert_close(7 * near, far, atol=1e-4, rtol=1e-4)


def largest_m(arrays: dict[str, torch.Tensor]) -> float:
    return arrays["first_from_camera"][..., :3, 3].norm(dim=-1).max().item()


@pytest.mark.parametrize("scale", ["metric", "clip"])
def test_fitted_numbers_are_around_one(scale: str):
    clips = [aligned(scaled(factor)) for factor in (30, 40)]
    encoder = camera.encoder(clips[0], camera.Config(scale=scale))
    encoder.fit(iter(clips))
    wanted_m = np.sqrt((largest_m(clips[0]) ** 2 + largest_m(clips[1]) ** 2) / 2) if scale == "metric" else 1.0
    assert encoder.unit_m.item() == pytest.approx(wanted_m, rel=1e-5)
    motion = encoder(batched(*clips), KEEP).frame_BVTD[:, :, 1:, :-1]
    for part in motion.split([9 * R, 3 * R], -1):
        assert part.square().mean().item() == pytest.approx(1, rel=1e-4)
    again = camera.encoder(clips[0], camera.Config(scale=scale))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(batched(*clips), KEEP).frame_BVTD, encoder(batched(*clips), KEEP).frame_BVTD)


@pytest.mark.parametrize("scale", ["metric", "clip"])
def test_cameras_that_never_move_stay_finite(scale: str):
    still = aligned(np.broadcast_to(pose((1, 0, 0), (5, 5, 5)), (1, 9, 4, 4)))
    encoder = camera.encoder(still, camera.Config(scale=scale))
    encoder.fit(iter([still]))
    given = encoder(batched(still), KEEP)
    assert given.frame_BVTD[..., :-1].abs().max() < 1e-4
    assert given.dense_BVTHWC.isfinite().all()


def test_standing_still_differs_from_saying_nothing():
    still = batched(*[aligned(np.broadcast_to(np.eye(4), (1, 9, 4, 4)))] * 2)
    given = camera.encoder(aligned(wandering()), camera.Config())(still, torch.tensor([True, False]))
    assert not given.frame_BVTD[1].any()
    assert not given.dense_BVTHWC[1].any()
    assert (given.frame_BVTD[0].sum(-1) == 1).all()
    assert (given.dense_BVTHWC[0, ..., -1] == 1).all()


@pytest.mark.parametrize(
    ("setting", "frame", "dense"),
    [({}, 12 * R + 1, 6 * R + 1), ({"inject": "rays", "rays": "last"}, 0, 7), ({"inject": "vector"}, 12 * R + 1, 0)],
)
def test_widths_are_what_comes_out(setting: dict[str, str], frame: int, dense: int):
    encoder = camera.encoder(aligned(wandering()), camera.Config(**setting))
    assert encoder.widths == encoder(batched(aligned(wandering())), KEEP).widths == Widths(frame=frame, dense=dense)


def test_rays_do_not_lose_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        low = condition(wandering())
    assert torch.equal(low.dense_BVTHWC, condition(wandering()).dense_BVTHWC)


def broken(change: Callable[[np.ndarray], object]) -> np.ndarray:
    poses = wandering()
    change(poses)
    return poses


@pytest.mark.parametrize(
    ("poses", "lens", "size_px", "words"),
    [
        (wandering(frames=10), LENS_PX, (24, 32), r"\[1, 10, 4, 4\], wanted \[1, 9, 4, 4\]: one pose per frame"),
        (wandering().swapaxes(-1, -2), LENS_PX, (24, 32), "is the matrix transposed"),
        (wandering() * [[[2.0], [2], [2], [1]]], LENS_PX, (24, 32), "frame 0 is no rotation and translation, R R"),
        (
            broken(lambda p: p[0, 3].__imul__([[1], [1], [-1], [1]])),
            LENS_PX,
            (24, 32),
            "frame 3 is no rotation and translation, it mirrors",
        ),
        (broken(lambda p: p[0, 3].__setitem__((0, 3), np.nan)), LENS_PX, (24, 32), "not finite"),
        (wandering(), (0.6, 0.8, 0.5, 0.5), (24, 32), "not shares of their size"),
        (wandering(), (700, 700, 640, 360), (24, 32), r"principal point \[640.0, 360.0\] px lies far outside"),
        (wandering(), LENS_PX, (32, 24), r"pictures of \[32, 24\] px, the latent grid is of \[24, 32\]"),
    ],
)
def test_bad_cameras_are_named(poses: np.ndarray, lens: object, size_px: tuple[int, int], words: str):
    with pytest.raises(ValueError, match=words):
        camera.align(clip(poses, lens, size_px), GRID)


def test_missing_poses_are_named():
    one = clip(wandering())
    del one.features[camera.WORLD_FROM_CAMERA]
    with pytest.raises(ValueError, match="needs the feature 'camera.world_from_camera'"):
        camera.align(one, GRID)


@pytest.mark.parametrize("setting", [{"dropout": 1.5}, {"inject": "ray"}, {"scale": "m"}, {"rays": "first"}])
def test_bad_settings_are_refused(setting: dict[str, object]):
    with pytest.raises(ValueError, match=f"control.camera.{next(iter(setting))}"):
        camera.Config(**setting)


def test_arrays_of_another_grid_are_refused():
    encoder = camera.encoder(aligned(wandering()), camera.Config())
    wider = {**aligned(wandering()), "cells": torch.ones(3, 5)}
    with pytest.raises(ValueError, match=r"4 poses per latent frame on a grid of 3 x 5 cells, the model takes 4 on 3"):
        encoder(batched(wider), KEEP)


AR_GRID = GRID
DIT_GRID = Grid(views=1, frames=3, height=8, width=12, frames_per_latent=R, pixels_per_latent=2)
LATENTS = torch.randn(2, 1, 3, 8, 12, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("inject", camera.INJECT)
@pytest.mark.parametrize("name", ["diffusion", "autoregressive"])
def test_it_starts_at_zero_and_then_matters(tmp_path: Path, name: str, inject: str):
    """Together with text, with real loading of a saved base."""
    if name == "diffusion":
        family, grid, target, lens, size_px = diffusion, DIT_GRID, LATENTS, (10.0, 10.0, 12.0, 8.0), (16, 24)
        dit_weights.save(dit_toy.model(dit_toy.TOY_VIDEO), tmp_path / "base")
    else:
        family, grid, target, lens, size_px = autoregressive, AR_GRID, ar_toy.tokens(), LENS_PX, (24, 32)
        ar_weights.save(ar_toy.model(ar_toy.TOY_TEXT), tmp_path / "base")
    clips = [camera.align(clip(wandering(seed), lens, size_px), grid) for seed in (0, 1)]
    arrays = batched(*[{key: torch.from_numpy(value) for key, value in one.items()} for one in clips])
    rows = {"tokens": torch.randn(2, 1, 5, 20, generator=torch.Generator().manual_seed(1))}
    batch = Batch(
        target=target,
        controls={"text": rows, "camera": arrays},
        fps_hz_B=torch.full((2,), 10.0),
        clip_ids=("a", "b"),
        num_observed_B=torch.ones(2).long(),
    )
    encoders = {
        "text": text.encoder(rows, text.Config()),
        "camera": camera.encoder(arrays, camera.Config(inject=inject)),
    }
    base, _ = family.load_base(tmp_path / "base", encoders["text"].widths)
    grown, coverage = family.load_base(tmp_path / "base", encoders["text"].widths + encoders["camera"].widths)
    assert coverage.new_and_zero

    def loss(model: nn.Module, given: Batch, names: tuple[str, ...] = ("text", "camera")) -> float:
        told = Condition.join([encoders[n](given.controls[n], torch.ones(2).bool()) for n in names])
        with torch.no_grad():
            return family.loss(model.eval(), given, told, generator(0, 0, "a"), family.Objective())[0].item()

    assert loss(grown, batch) == pytest.approx(loss(base, batch, ("text",)), rel=1e-6)
    with torch.no_grad():
        for key, parameter in grown.named_parameters():
            if "injection" in key and not parameter.any():
                nn.init.normal_(parameter, std=0.3)
    assert abs(loss(grown, batch) - loss(base, batch, ("text",))) > 1e-4
    assert abs(loss(grown, batch) - loss(grown, with_foreign(batch, "camera"))) > 1e-4
