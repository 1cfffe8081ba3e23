"""A view that the model was given whole says nothing of what it made: no judge may look at it."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from worldtune.metrics.probe import Probe, Schooling
from worldtune.stages.geometry import Cameras, EpipolarJudge
from worldtune.stages.made_clips import ClipInfo
from worldtune.stages.probes import Judge, Reader


def info(num_views: int, num_given_views: int) -> ClipInfo:
    return ClipInfo(
        id="clip",
        texts=[""] * num_views,
        views=[f"view{number}" for number in range(num_views)],
        fps_hz=10.0,
        num_observed_frames=1,
        num_observed_latents=1,
        num_given_views=num_given_views,
    )


def test_epipolar_lines_are_those_of_made_views() -> None:
    random = np.random.default_rng(0)
    wall_HWC = np.kron(random.integers(0, 256, (16, 40, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    pan_THWC = np.stack([wall_HWC[:, 2 * step : 2 * step + 64] for step in range(5)])
    noise_THWC = random.integers(0, 256, pan_THWC.shape, dtype=np.uint8)
    both_VTHWC = np.stack([pan_THWC, noise_THWC])
    path_T44 = np.tile(np.eye(4), (5, 1, 1))
    path_T44[:, 0, 3] = np.arange(5) * 0.1

    def errors(video_VTHWC: np.ndarray, num_given_views: int) -> dict[str, float | None]:
        views = len(video_VTHWC)
        lens_VT4 = np.tile([32.0, 32.0, 32.0, 32.0], (views, 5, 1))
        cameras = {"clip": Cameras(lens_VT4=lens_VT4, world_from_camera_VT44=np.stack([path_T44] * views))}
        judge = EpipolarJudge(cameras=cameras, gap=1)
        return judge.errors(video_VTHWC, video_VTHWC, info(views, num_given_views), "clip")

    made = errors(both_VTHWC, 1)
    assert made == errors(both_VTHWC[1:], 0)
    assert made != errors(both_VTHWC, 0)


def test_probes_read_made_views_only() -> None:
    """The probe says how bright a look is, and 0.25 was commanded of either view."""

    def read(look_VTHWC: np.ndarray) -> np.ndarray:
        return look_VTHWC.mean((0, 2, 3, 4))[:, None] / 255

    def errors(read_TD: np.ndarray, commanded_TD: np.ndarray, num_given: int) -> dict[str, float]:
        return {"error": float(np.abs(read_TD - commanded_TD).mean())}

    reading = SimpleNamespace(by_view=False, in_deviations=False, names=False)
    room = cast(Any, SimpleNamespace(READING=reading, MEASURES={"error": None}, errors=errors))
    judge = Judge(
        room=room,
        probe=cast(Probe, SimpleNamespace(read=read)),
        schooling=cast(Schooling, None),
        deviation_D=np.ones(1),
        num_looks=2,
        stride=1,
    )
    commanded = {"clip": np.full((2, 3, 1), 0.25, np.float32)}
    reader = Reader(control="toy", judge=judge, commanded=commanded, choices=())
    video_VTHWC = np.zeros((2, 3, 4, 4, 3), np.uint8)
    video_VTHWC[1] = 255
    assert reader.errors(video_VTHWC, video_VTHWC, info(2, 1), "clip") == {"error": 0.75}
    assert reader.errors(video_VTHWC, video_VTHWC, info(2, 0), "clip") == {"error": 0.5}
