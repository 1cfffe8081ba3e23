"""Do the cameras of a rig show one and the same scene where their pictures overlap? Needs no learned weights.

Where two cameras see one place, they must show the same change at the same time. For every pixel of one camera the
rig's true geometry tells the line in the other on which its point lies; how far along it is how far away things are,
which real clips tell (`typical_ranges`). What both show is then measured against how much the true clip changes there,
so that a clip gains nothing by standing still, fading or blurring: what is not shown is not shared.

Positions are (column, row) in px; the centre of the first pixel is (0.5, 0.5). Cameras have OpenCV axes.

Shape legend: V views, T frames, D = T - gap pairs of frames, H W rows and columns, C colours, K ranges, N pixels of one
camera that another sees; 44 is a 4x4 matrix.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure
from worldtune.metrics.pixels import images, shrunk

LARGEST_PARALLAX = 0.3
"""Things are at least 1 / 0.3 times as far away as two cameras are apart."""
SMOOTHING_PX = 7
"""Edge of the square over which typical ranges are averaged."""
LEAST_OVERLAP = 0.02
"""Share of a picture below which two cameras do not count as overlapping."""
LEAST_CHANGE = 1.0
"""Root mean square change, in levels of 255, below which a true clip shows nothing to agree on."""
RIGID = 1e-2
"""Largest change of a pose between two cameras of one rig, in m and as entries of a rotation."""

MEASURES: dict[str, Measure] = {
    "cross_view_error": Measure(
        label="cross-view error",
        better="lower",
        decimals=3,
        meaning="Where the pictures of two cameras overlap: the share of the change over a latent frame that the two "
        "do not show alike, reprojected through the rig's true geometry. Measured against the change in the true clip "
        "(or the clip's own, if that is more), so standing still counts 1 and blur does not help. Real clips are not "
        "at 0: compare with the real column, and with the codec's.",
    ),
    "cross_view_change": Measure(
        label="change in the overlap",
        better="higher",
        decimals=3,
        meaning="Energy of the change over a latent frame where cameras overlap, over that of the true clip: says "
        "whether a cross-view error comes of showing too little (well below 1) or of showing different things.",
    ),
    "exchange_noticed": Measure(
        label="exchange of cameras noticed",
        better="higher",
        decimals=3,
        meaning="Share of exchanges of two cameras of the clip that raise its cross-view error: 1 when every view "
        "shows what its own camera sees; by chance, 0.5; 0 for a clip that stands still.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Cameras that are fixed to one another."""

    lens_V4: NDArray[np.float64]
    """fx, fy, cx, cy in px."""
    first_from_camera_V44: NDArray[np.float64]
    height_px: int
    width_px: int

    def scaled(self, height_px: int, width_px: int) -> "Rig":
        """The same for pictures of another size."""
        share = np.array([width_px / self.width_px, height_px / self.height_px] * 2)
        poses = self.first_from_camera_V44
        return Rig(lens_V4=self.lens_V4 * share, first_from_camera_V44=poses, height_px=height_px, width_px=width_px)


def rig_of(lens_VT4: np.ndarray, world_from_camera_VT44: np.ndarray, height_px: int, width_px: int) -> Rig:
    """The rig of a clip. ValueError when a lens changes or cameras move against one another."""
    poses = np.asarray(world_from_camera_VT44, np.float64)
    first_from_camera = np.linalg.inv(poses[:1]) @ poses
    if np.abs(first_from_camera - first_from_camera[:, :1]).max() > RIGID:
        raise ValueError("the cameras move against one another, so where they overlap changes")
    lens = np.asarray(lens_VT4, np.float64)
    if np.abs(lens - lens[:, :1]).max() > RIGID * lens[:, :1, :2].max():
        raise ValueError("a lens changes within a clip")
    return Rig(
        lens_V4=lens[:, 0], first_from_camera_V44=first_from_camera[:, 0], height_px=height_px, width_px=width_px
    )


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What the camera `other` sees of the camera `one`."""

    one: int
    other: int
    rows_N: NDArray[np.int64]
    columns_N: NDArray[np.int64]
    """Pixels of `one`."""
    seen_N2: NDArray[np.float64]
    """Where `other` shows them, (column, row) in px."""


Ranges = Mapping[tuple[int, int], NDArray[np.float64]]
"""(one, other) -> how near things are along the ray of each pixel of `one`, 1/m [H,W]; NaN where `other` is blind."""


def seen_from(rig: Rig, one: int, other: int, nearness_HW: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Where `other` shows points on the rays of the pixels of `one`: (column, row) [H,W,2] px, and whether it does.

    nearness: 1 / distance along the ray; 0 is infinitely far.
    """
    other_from_one = np.linalg.inv(rig.first_from_camera_V44[other]) @ rig.first_from_camera_V44[one]
    fx, fy, cx, cy = rig.lens_V4[one]
    row_HW, column_HW = np.indices((rig.height_px, rig.width_px)) + 0.5
    ray_HW3 = np.stack([(column_HW - cx) / fx, (row_HW - cy) / fy, np.ones_like(row_HW)], -1)
    ray_HW3 /= np.linalg.norm(ray_HW3, axis=-1, keepdims=True)
    point_HW3 = ray_HW3 @ other_from_one[:3, :3].T + nearness_HW[..., None] * other_from_one[:3, 3]
    ahead_HW = point_HW3[..., 2] > 1e-6
    plane_HW2 = point_HW3[..., :2] / np.where(ahead_HW, point_HW3[..., 2], 1)[..., None]
    fx, fy, cx, cy = rig.lens_V4[other]
    seen_HW2 = plane_HW2 * [fx, fy] + [cx, cy]
    inside_HW = ((seen_HW2 >= 0.5) & (seen_HW2 <= np.array([rig.width_px, rig.height_px]) - 0.5)).all(-1)
    return seen_HW2, ahead_HW & inside_HW


def overlaps(rig: Rig, ranges: Ranges) -> list[Overlap]:
    """Pixels and where they are seen, for every pair of cameras that has typical ranges."""
    found = []
    for (one, other), nearness_HW in ranges.items():
        seen_HW2, is_seen_HW = seen_from(rig, one, other, np.nan_to_num(nearness_HW))
        rows_N, columns_N = np.nonzero(is_seen_HW & ~np.isnan(nearness_HW))
        seen_N2 = seen_HW2[rows_N, columns_N]
        found.append(Overlap(one=one, other=other, rows_N=rows_N, columns_N=columns_N, seen_N2=seen_N2))
    return found


def typical_ranges(clips: Iterable[tuple[NDArray[np.float32], Rig]], gap: int) -> Ranges:
    """How near things usually are, for each pixel of every pair of overlapping cameras, from real clips.

    clips: pictures as `changes` wants them, and the rig. For each pixel it is the range at which both cameras' changes
    agree best over all clips; ranges are one pixel of parallax apart. ValueError when no cameras overlap.
    """
    shared: dict[tuple[int, int], NDArray[np.float64]] = {}
    steps: dict[tuple[int, int], NDArray[np.float64]] = {}
    for video_VTHWC, rig in clips:
        changes_VDHWC = changes(video_VTHWC, gap)
        for pair in combinations(range(len(video_VTHWC)), 2):
            steps.setdefault(pair, _steps(rig, *pair))
            if len(steps[pair]):
                sums = np.stack([_sums(changes_VDHWC, rig, pair, nearness) for nearness in steps[pair]], 1)
                shared[pair] = shared.get(pair, 0) + sums
    if not shared:
        raise ValueError("no two cameras overlap, so there is nothing that both see")
    return {pair: _best(sums_2KHW, steps[pair]) for pair, sums_2KHW in shared.items()}


def _steps(rig: Rig, one: int, other: int) -> NDArray[np.float64]:
    """Ranges to try, 1/m; none when the two do not overlap, even at infinity."""
    _, is_seen_HW = seen_from(rig, one, other, np.zeros((rig.height_px, rig.width_px)))
    if is_seen_HW.mean() < LEAST_OVERLAP:
        return np.zeros(0)
    places = rig.first_from_camera_V44[[one, other], :3, 3]
    apart_m, focal_px = float(np.linalg.norm(places[0] - places[1])), rig.lens_V4[one, 0]
    if apart_m < 1e-6:
        return np.zeros(1)
    return np.arange(int(LARGEST_PARALLAX * focal_px) + 1) / (focal_px * apart_m)


def _sums(changes_VDHWC: NDArray[np.float32], rig: Rig, pair: tuple[int, int], nearness: float) -> NDArray[np.float64]:
    """(twice the product, sum of squares) of both cameras' changes, per pixel [2,H,W]; 0 where they do not overlap."""
    found = overlaps(rig, {pair: np.full((rig.height_px, rig.width_px), nearness)})[0]
    one_DNC, other_DNC = _both(changes_VDHWC, found)
    sums = np.zeros((2, rig.height_px, rig.width_px))
    sums[0, found.rows_N, found.columns_N] = 2 * (one_DNC * other_DNC).sum((0, 2))
    sums[1, found.rows_N, found.columns_N] = (one_DNC**2 + other_DNC**2).sum((0, 2))
    return sums


def _best(sums_2KHW: NDArray[np.float64], nearness_K: NDArray[np.float64]) -> NDArray[np.float64]:
    """The range of most likeness around each pixel [H,W], NaN where there is none."""
    smooth_2KHW = F.avg_pool2d(torch.from_numpy(sums_2KHW), SMOOTHING_PX, 1, SMOOTHING_PX // 2).numpy()
    is_seen_KHW = sums_2KHW[1] > 0
    likeness_KHW = np.where(is_seen_KHW, smooth_2KHW[0] / np.maximum(smooth_2KHW[1], 1e-9), -np.inf)
    return np.where(is_seen_KHW.any(0), nearness_K[likeness_KHW.argmax(0)], np.nan)


def small(video_VTHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A clip as it is compared: the shorter side at most PICTURE_PX."""
    pictures_NCHW = shrunk(images(video_VTHWC))
    result: NDArray[np.float32] = pictures_NCHW.permute(0, 2, 3, 1).unflatten(0, video_VTHWC.shape[:2]).numpy()
    return result


def changes(video_VTHWC: NDArray[np.float32], gap: int) -> NDArray[np.float32]:
    """Every frame minus the one `gap` before it, [V,D,H,W,C]. ValueError for a clip that is too short."""
    if video_VTHWC.shape[1] <= gap:
        raise ValueError(f"a clip of {video_VTHWC.shape[1]} frames shows no change over {gap}")
    return video_VTHWC[:, gap:] - video_VTHWC[:, :-gap]


def _both(changes_VDHWC: NDArray[np.float32], overlap: Overlap) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The change that `one` and `other` show of the same points, [D,N,C] each; bilinear in `other`."""
    one_DNC = changes_VDHWC[overlap.one][:, overlap.rows_N, overlap.columns_N]
    picture_DHWC = changes_VDHWC[overlap.other]
    height, width = picture_DHWC.shape[1:3]
    column_N, row_N = (overlap.seen_N2 - 0.5).T
    left_N = np.clip(np.floor(column_N).astype(int), 0, width - 2)
    top_N = np.clip(np.floor(row_N).astype(int), 0, height - 2)
    right_N1, down_N1 = ((part.astype(np.float32))[:, None] for part in (column_N - left_N, row_N - top_N))
    upper = picture_DHWC[:, top_N, left_N] * (1 - right_N1) + picture_DHWC[:, top_N, left_N + 1] * right_N1
    lower = picture_DHWC[:, top_N + 1, left_N] * (1 - right_N1) + picture_DHWC[:, top_N + 1, left_N + 1] * right_N1
    return one_DNC, upper * (1 - down_N1) + lower * down_N1


def cross_view_scores(
    made_VTHWC: NDArray[np.float32], real_VTHWC: NDArray[np.float32], found: list[Overlap], gap: int, first: int
) -> dict[str, float]:
    """MEASURES of one clip, beside the true one; pictures as `small` gives them.

    first: the first frame that was made; changes into earlier ones do not count. With a, b the changes that two cameras
    show of the same points, summed over points, frames, colours and pairs: error = 1 - 2 sum(a b) / max(E, E of the
    true clip), E = sum(a^2 + b^2). NaN for all measures when the true clip does not change.
    """
    start = max(0, first - gap)
    made_VDHWC, real_VDHWC = (changes(video[:, start:], gap) for video in (made_VTHWC, real_VTHWC))
    values = 2 * sum(len(overlap.rows_N) for overlap in found) * made_VDHWC.shape[1] * made_VDHWC.shape[-1]
    twice, energy = _agreement(made_VDHWC, found)
    _, real_energy = _agreement(real_VDHWC, found)
    if real_energy < LEAST_CHANGE**2 * values:
        return dict.fromkeys(MEASURES, float("nan"))
    error = 1 - twice / max(energy, real_energy)
    noticed = []
    for pair in _exchangeable(len(made_VDHWC), found):
        order = np.arange(len(made_VDHWC))
        order[list(pair)] = pair[::-1]
        exchanged, exchanged_energy = _agreement(made_VDHWC[order], found)
        noticed.append(1 - exchanged / max(exchanged_energy, real_energy) > error)
    return {
        "cross_view_error": error,
        "cross_view_change": energy / real_energy,
        "exchange_noticed": float(np.mean(noticed)),
    }


def _agreement(changes_VDHWC: NDArray[np.float32], found: list[Overlap]) -> tuple[float, float]:
    """(2 sum(a b), sum(a^2 + b^2)) over all overlaps."""
    twice = energy = 0.0
    for overlap in found:
        one_DNC, other_DNC = _both(changes_VDHWC, overlap)
        twice += 2 * float((one_DNC * other_DNC).sum(dtype=np.float64))
        energy += float((one_DNC**2 + other_DNC**2).sum(dtype=np.float64))
    return twice, energy


def _exchangeable(num_views: int, found: list[Overlap]) -> list[tuple[int, int]]:
    """Pairs of cameras of which at least one overlaps another."""
    overlapping = {view for overlap in found for view in (overlap.one, overlap.other)}
    return [pair for pair in combinations(range(num_views), 2) if overlapping & set(pair)]
