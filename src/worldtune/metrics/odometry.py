"""Where a camera went, read from a clip by aligning its frames with the given one. No learned weights.

Direct visual odometry (Kerl et al., ICRA 2013) from one known picture. How far away its pixels are is swept out of the
true clip, whose poses are known (plane sweep: Collins, CVPR 1996). A made frame is then seen from where the given one,
brought there, looks most like it. Both clips share that frame, so nothing of the true clip's later frames is asked of
the made one. It errs by a tenth of what a probe does on pictures of 64 px; where a frame shows nothing that could be
aligned, the camera is taken to stand still.

Pixels lie at (column, row), the centre of the first one at (0.5, 0.5). Poses have OpenCV axes (x right, y down, z
forward). Nearness is 1 / depth, in 1/m.

Shape legend: T frames, C colours, H W rows and columns, N = H W pixels, K depths, S some of the frames; 4 of a lens are
fx, fy, cx, cy in px; 6 of a motion are its rotation vector in rad and translation in m.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from worldtune.contract.nouns import Measure
from worldtune.metrics.pixels import Video, images, shrunk

MEASURES: dict[str, Measure] = {
    "odometry_rotation_deg": Measure(
        label="camera by alignment, rotation error, deg",
        better="lower",
        decimals=2,
        meaning="How far the camera's heading is from the commanded one, seen from the last given frame, averaged "
        "over the frames that were made. Read by aligning them with the given one, without learned weights.",
    ),
    "odometry_position_m": Measure(
        label="camera by alignment, position error, m",
        better="lower",
        decimals=3,
        meaning="How far the camera's place is from the commanded one, read in the same way. In the unit of the "
        "dataset's poses, without any fit of scale.",
    ),
}

LEVELS = (4, 2, 1)
"""Pictures are aligned at a quarter of their size first, then at half, then whole."""
STEPS = 12
"""Gauss-Newton steps at each level."""
ALIKE = 10
"""So many neighbouring pixels err alike, and count as one measurement."""
SLACK = 2.0
"""A motion of this many times the typical one has the weight of one standard deviation."""
LEAST_MOTION = 1e-4
"""rad or m per frame: typical motion is not less, so that still cameras can be told from moving ones."""
DAMPING = 1e-3
NOISE_LEVELS = 1.0
"""Colours of a clip differ by at least this much from what is expected of them, in 255 levels."""
MOST_PARALLAX = 0.5
"""Nearest depth that is tried: at it, the largest motion of the true clip shifts things by so much of the width."""
MOST_DEPTHS = 48
SWEPT_FRAMES = 8
"""Frames of the true clip that tell how far away things are, spread evenly."""
SMOOTHING_PX = 5
LEAST_SEEN = 0.75
"""Share of those frames that must see a pixel."""
AROUND_PX = 13
LEAST_VARIANCE = 1e-4
"""Of a nearness, as a share of the square of the largest one tried: no pixel outweighs all others."""
UNSEEN_LEVELS = 30.0
"""How unlike colours are taken to be at a depth at which no frame sees the pixel."""
NEAREST_M = 0.05
"""Closer points than this would leave the picture by the smallest motion."""


@dataclass(frozen=True, kw_only=True)
class Typical:
    """Root mean square motion from one frame to the next."""

    rotation_rad: float
    translation_m: float


def typical_motion(paths: Iterable[NDArray[np.floating]]) -> Typical:
    """Over clips, each world_from_camera [T,4,4]."""
    steps = [np.linalg.inv(path_T44[:-1]) @ path_T44[1:] for path_T44 in paths]
    steps_N44 = np.concatenate(steps).astype(np.float64)
    rotation_rad = float(np.sqrt(np.mean(_angles_rad(steps_N44[:, :3, :3]) ** 2)))
    translation_m = float(np.sqrt(np.mean((steps_N44[:, :3, 3] ** 2).sum(-1))))
    return Typical(rotation_rad=max(rotation_rad, LEAST_MOTION), translation_m=max(translation_m, LEAST_MOTION))


def _angles_rad(rotations_N33: NDArray[np.floating]) -> NDArray[np.float64]:
    """How far each turns, [N]: |R - 1| = 2 sqrt(2) sin(angle / 2)."""
    chord_N = np.linalg.norm(rotations_N33 - np.eye(3), axis=(1, 2))
    return 2 * np.arcsin(np.minimum(chord_N / np.sqrt(8), 1))


def path_errors(
    read_T44: NDArray[np.floating], world_from_camera_T44: NDArray[np.floating], given: int
) -> dict[str, float]:
    """MEASURES of one camera: poses as `camera_path` reads them against the commanded ones, frames after `given`."""
    commanded_T44 = np.linalg.inv(world_from_camera_T44[given]) @ world_from_camera_T44[given + 1 :]
    made_T44 = read_T44[given + 1 :]
    rotation_rad = _angles_rad(commanded_T44[:, :3, :3].swapaxes(1, 2) @ made_T44[:, :3, :3])
    position_m = np.linalg.norm(made_T44[:, :3, 3] - commanded_T44[:, :3, 3], axis=-1)
    return {
        "odometry_rotation_deg": float(np.degrees(rotation_rad.mean())),
        "odometry_position_m": float(position_m.mean()),
    }


def looked_at(video_THWC: Video, lens_T4: NDArray[np.floating]) -> tuple[Tensor, Tensor]:
    """Frames of one camera as they are aligned, [T,C,H,W] in 0..255, and its lens for that size."""
    pictures_TCHW = shrunk(images(video_THWC[None]))
    share = [small / large for small, large in zip(pictures_TCHW.shape[:1:-1], video_THWC.shape[2:0:-1], strict=True)]
    return pictures_TCHW, torch.from_numpy(np.asarray(lens_T4, np.float32)) * torch.tensor([*share, *share])


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How near what the given frame shows is, and how surely that is known."""

    nearness_HW: Tensor
    variance_HW: Tensor


def scene(real_TCHW: Tensor, lens_T4: Tensor, world_from_camera_T44: NDArray[np.floating], given: int) -> Scene:
    """What the given frame shows, from a true clip and its poses.

    A pixel's nearness is one at which the clip's other frames look alike there, by the better half of those that see
    it, since things may be hidden in the others. What many of them do not see is as near as what is around it, for all
    that is known. A camera that only turns sees everything infinitely far away.
    """
    others = [t for t in range(len(real_TCHW)) if t != given]
    others = others[:: -(-len(others) // SWEPT_FRAMES)]
    other_from_given_S44 = np.linalg.inv(world_from_camera_T44[others]) @ world_from_camera_T44[given]
    height, width = real_TCHW.shape[2:]
    farthest_m = float(np.linalg.norm(other_from_given_S44[:, :3, 3], axis=-1).max())
    if farthest_m < LEAST_MOTION:
        return Scene(nearness_HW=torch.zeros(height, width), variance_HW=torch.zeros(height, width))
    nearest = min(MOST_PARALLAX * width / (float(lens_T4[given, 0]) * farthest_m), 1 / NEAREST_M)
    near_K11 = torch.linspace(0, nearest, MOST_DEPTHS)[:, None, None]
    ray_3N, poses_S44 = _rays(lens_T4[given], height, width), torch.from_numpy(other_from_given_S44).float()
    swept = [
        _swept(real_TCHW[given], ray_3N, real_TCHW[others], lens_T4[others], poses_S44, float(near))
        for near in near_K11
    ]
    cost_KHW, share_KHW = (torch.stack(parts).unflatten(1, (height, width)) for parts in zip(*swept, strict=True))
    cost_KHW = F.avg_pool2d(cost_KHW, SMOOTHING_PX, 1, SMOOTHING_PX // 2, count_include_pad=False)
    likely_KHW = (-cost_KHW / NOISE_LEVELS).softmax(0)
    nearness_HW = (likely_KHW * near_K11).sum(0)
    variance_HW = (likely_KHW * (near_K11 - nearness_HW).square()).sum(0)
    is_known_HW = (likely_KHW * share_KHW).sum(0) >= LEAST_SEEN
    surely_HW = is_known_HW / (variance_HW + LEAST_VARIANCE * nearest**2)
    known_HW = _around(surely_HW * nearness_HW) / _around(surely_HW).clamp(min=torch.finfo().tiny)
    spread = nearness_HW[is_known_HW].var(unbiased=False).nan_to_num(nearest**2)
    return Scene(
        nearness_HW=torch.where(is_known_HW, nearness_HW, known_HW),
        variance_HW=torch.where(is_known_HW, variance_HW, spread),
    )


def _around(values_HW: Tensor) -> Tensor:
    """Sums over the neighbourhood, near ones counting more: three boxes, one after another."""
    for _ in range(3):
        values_HW = F.avg_pool2d(values_HW[None], AROUND_PX, 1, AROUND_PX // 2)[0]
    return values_HW


def _swept(
    given_CHW: Tensor, ray_3N: Tensor, others_SCHW: Tensor, lens_S4: Tensor, poses_S44: Tensor, near: float
) -> tuple[Tensor, Tensor]:
    """If everything were that near: how unlike colours are [N], and the share of the other frames that see it [N]."""
    nearness_N = torch.full(ray_3N.shape[1:], near)
    parts, seen = [], []
    for other_CHW, lens_4, pose_44 in zip(others_SCHW, lens_S4, poses_S44, strict=True):
        _, place_N2, is_seen_N = _projected(pose_44, ray_3N, nearness_N, lens_4, other_CHW)
        unlike_N = (_sampled(other_CHW, place_N2) - given_CHW.flatten(1)).abs().mean(0)
        parts.append(torch.where(is_seen_N, unlike_N, torch.inf))
        seen.append(is_seen_N)
    unlike_SN, known_N = torch.stack(parts).sort(0).values, torch.stack(seen).sum(0)
    half_N = ((known_N + 1) // 2).clamp(min=1)
    sums_SN = unlike_SN.nan_to_num(posinf=0.0).cumsum(0)
    cost_N = sums_SN.gather(0, (half_N - 1)[None])[0] / half_N
    return torch.where(known_N > 0, cost_N, UNSEEN_LEVELS), known_N / len(parts)


def _rays(lens_4: Tensor, height: int, width: int) -> Tensor:
    """Directions of the pixels with z = 1, [3,N]."""
    row_HW, column_HW = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    fx, fy, cx, cy = lens_4
    ray_3HW = torch.stack([(column_HW - cx) / fx, (row_HW - cy) / fy, torch.ones_like(row_HW)])
    return ray_3HW.flatten(1)


def _projected(
    other_from_given_44: Tensor, ray_3N: Tensor, nearness_N: Tensor, lens_4: Tensor, other_CHW: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Points times their nearness in the other camera [3,N], where it sees them [N,2] px, and whether, [N]."""
    point_3N = other_from_given_44[:3, :3] @ ray_3N + other_from_given_44[:3, 3:] * nearness_N
    depth_N = point_3N[2].clamp(min=NEAREST_M)
    fx, fy, cx, cy = lens_4
    place_N2 = torch.stack([point_3N[0] / depth_N * fx + cx, point_3N[1] / depth_N * fy + cy], -1)
    height, width = other_CHW.shape[1:]
    inside_N = ((place_N2 > 0.5) & (place_N2 < torch.tensor([width, height]) - 0.5)).all(-1)
    return point_3N, place_N2, inside_N & (point_3N[2] > NEAREST_M)


def _sampled(picture_CHW: Tensor, place_N2: Tensor) -> Tensor:
    """Colours at places, bilinear, [C,N]."""
    height, width = picture_CHW.shape[1:]
    grid_1N12 = (place_N2 / torch.tensor([width, height]) * 2 - 1)[None, :, None]
    return F.grid_sample(picture_CHW[None], grid_1N12, align_corners=False, padding_mode="border")[0, :, :, 0]


@torch.inference_mode()
def camera_path(made_TCHW: Tensor, lens_T4: Tensor, seen: Scene, given: int, typical: Typical) -> NDArray[np.float64]:
    """Poses of all frames seen from the given one, given_from_camera [T,4,4]; up to `given` they are its own.

    Each frame is aligned with the given one, starting where the frame before was; that it stands there is the guess,
    with twice the typical motion as its standard deviation.
    """
    grey_T1HW = made_TCHW.mean(1, keepdim=True)
    near_2HW = torch.stack([seen.nearness_HW, seen.variance_HW])
    pyramid = [
        (
            level,
            pictures := F.avg_pool2d(grey_T1HW, level),
            F.avg_pool2d(near_2HW, level).flatten(1),
            _rays(lens_T4[given] / level, *pictures.shape[2:]),
        )
        for level in LEVELS
    ]
    weight_6 = torch.tensor([typical.rotation_rad] * 3 + [typical.translation_m] * 3).mul(SLACK).square().reciprocal()
    pose_44 = torch.eye(4)
    path = [pose_44] * (given + 1)
    for t in range(given + 1, len(made_TCHW)):
        moved_6 = torch.zeros(6)
        for level, pictures_T1HW, near_2N, ray_3N in pyramid:
            seen_3HW, lens_4 = torch.cat([pictures_T1HW[t], *_slopes(pictures_T1HW[t])]), lens_T4[t] / level
            for _ in range(STEPS):
                information_66, pull_6 = _fit(pose_44, pictures_T1HW[given], seen_3HW, ray_3N, near_2N, lens_4)
                damped_66 = information_66 + torch.diag(DAMPING * information_66.diagonal() + weight_6)
                step_6 = torch.linalg.solve(damped_66, pull_6 - weight_6 * moved_6)
                pose_44, moved_6 = _motion(step_6) @ pose_44, moved_6 + step_6
        path.append(pose_44)
    return np.linalg.inv(torch.stack(path).double().numpy())


def _slopes(picture_1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Change per pixel to the right and down."""
    padded_1HW = F.pad(picture_1HW[None], (1, 1, 1, 1), mode="replicate")[0]
    right = (padded_1HW[:, 1:-1, 2:] - padded_1HW[:, 1:-1, :-2]) / 2
    return right, (padded_1HW[:, 2:, 1:-1] - padded_1HW[:, :-2, 1:-1]) / 2


def _fit(
    pose_44: Tensor, given_1HW: Tensor, seen_3HW: Tensor, ray_3N: Tensor, near_2N: Tensor, lens_4: Tensor
) -> tuple[Tensor, Tensor]:
    """How surely the pictures tell a small further motion [6,6], and where to it pulls [6].

    The grey level may differ by a constant; pixels that fit badly count little (Cauchy weights, the scale being that of
    the median), and so do those whose depth is not known where it matters.
    """
    nearness_N, variance_N = near_2N
    point_3N, place_N2, is_seen_N = _projected(pose_44, ray_3N, nearness_N, lens_4, seen_3HW)
    level_N, right_N, down_N = _sampled(seen_3HW, place_N2)
    apart_N = level_N - given_1HW.flatten()
    if not is_seen_N.any():
        return torch.zeros(6, 6), torch.zeros(6)
    apart_N = apart_N - apart_N[is_seen_N].mean()
    noise = (1.4826 * apart_N[is_seen_N].abs().median()).clamp(min=NOISE_LEVELS)
    depth_N = point_3N[2].clamp(min=NEAREST_M)
    x_N, y_N, near_N = point_3N[0] / depth_N, point_3N[1] / depth_N, nearness_N / depth_N
    across_N, along_N = right_N * lens_4[0], down_N * lens_4[1]
    inward_N = across_N * x_N + along_N * y_N
    sideways, down, forward = pose_44[:3, 3]
    by_depth_N = (across_N * sideways + along_N * down - inward_N * forward) / depth_N
    expected_N = noise.square() + by_depth_N.square() * variance_N
    weight_N = is_seen_N / (ALIKE * (expected_N + (apart_N / 2).square()))
    slope_N6 = torch.stack(
        [
            -along_N - inward_N * y_N,
            across_N + inward_N * x_N,
            along_N * x_N - across_N * y_N,
            across_N * near_N,
            along_N * near_N,
            -inward_N * near_N,
        ],
        -1,
    )
    weighted_6N = (slope_N6 * weight_N[:, None]).T
    return weighted_6N @ slope_N6, -weighted_6N @ apart_N


def _motion(motion_6: Tensor) -> Tensor:
    """The rigid transform of a rotation vector and a translation, by the exponential map, [4,4]."""
    x, y, z, *translation = motion_6.tolist()
    twist = [[0, -z, y, translation[0]], [z, 0, -x, translation[1]], [-y, x, 0, translation[2]], [0.0] * 4]
    return torch.matrix_exp(torch.tensor(twist))
