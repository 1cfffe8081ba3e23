"""Toy runs to drive: real classes, random weights that listen to their controls, a recorded world of numbers.

Shape legend: V views, T frames.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.data.recordings import episode
from tests.stages.toy_autoregressive import make_base as autoregressive_base
from tests.training.toy_base import make_base as diffusion_base
from worldtune.contract.cache import Cache
from worldtune.dataset import Episode, write_dataset
from worldtune.run import compose, save_run
from worldtune.stages.base import find_base
from worldtune.stages.prepare import prepare
from worldtune.stages.world import assemble, fit_controls

BASES = {"diffusion": diffusion_base, "autoregressive": autoregressive_base}
FAMILIES = sorted(BASES)
FRAMES = 17
SPEED_M, TURN_RAD = 0.5, 0.1
"""Per frame, of the recorded camera and vehicle; the way goes left and right in turns."""


def ego_path(frames: int, first: int) -> np.ndarray:
    """Poses of a vehicle, x forward, y left, z up: [T,4,4]."""
    turns_T = TURN_RAD * np.sin(np.arange(frames) + first)
    speeds_T = SPEED_M * (1.2 + np.cos(np.arange(frames) + first))
    poses_T44 = np.tile(np.eye(4), (frames, 1, 1))
    x = y = yaw = 0.0
    for t in range(frames):
        poses_T44[t, :2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        poses_T44[t, :2, 3] = x, y
        yaw += turns_T[t]
        x, y = x + speeds_T[t] * np.cos(yaw), y + speeds_T[t] * np.sin(yaw)
    return poses_T44


EGO_FROM_CAMERA = np.array([[0.0, 0, 1, 0.3], [-1, 0, 0, 0], [0, -1, 0, 1.2], [0, 0, 0, 1]])
"""A camera that looks ahead, 1.2 m above the ground."""


def recording(frames: int, views: Sequence[str], first: int) -> Episode:
    """Actions of three numbers, a moving vehicle, and cameras that ride on it."""
    ego_T44 = ego_path(frames, first)
    cameras_VT44 = np.stack([ego_T44 @ EGO_FROM_CAMERA for _ in views])
    lens_VT4 = np.tile(np.array([40.0, 40, 24, 16]), (len(views), frames, 1))
    actions_T3 = np.sin(np.arange(frames)[:, None] * [1.0, 0.7, 0.3] + first) * [0.02, 0.5, 3.0]
    return episode(
        frames,
        tuple(views),
        text="push the red cube",
        first=first,
        **{
            "action": actions_T3.astype(np.float32),
            "camera.intrinsics": lens_VT4.astype(np.float32),
            "camera.world_from_camera": cameras_VT44.astype(np.float32),
            "ego.world_from_ego": ego_T44.astype(np.float32),
        },
    )


def make_run(
    folder: Path,
    family: str,
    controls: Sequence[str],
    *,
    views: Sequence[str] = ("front",),
    task: str = "general",
    record: Callable[[int, Sequence[str], int], Episode] = recording,
) -> Path:
    """A finished run on a dataset of its own; all parameters are random, so that controls have an effect."""
    BASES[family](folder / "base")
    recorded = [record(FRAMES, views, number) for number in range(4)]
    write_dataset(folder / "data", recorded, fps_hz=10, splits={"train": "0:3", "val": "3:4"})
    base = find_base(str(folder / "base"))
    prepare(folder / "data", folder / "cache", base, controls=controls, window={})
    run = compose(
        task=task,
        base=base,
        data=folder / "cache",
        controls=controls,
        steps=1,
        assignments=("loop.precision=fp32", *(("sampler.steps=2",) if family == "diffusion" else ())),
    )
    cache = Cache.open(folder / "cache")
    world, _ = assemble(run, cache)
    fit_controls(world, cache)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in world.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    out = folder / "run"
    (out / "weights").mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in world.state_dict().items()}, out / "weights/ema.safetensors"
    )
    save_run(run, out)
    return out
