"""Does a clip obey the epipolar geometry of the commanded cameras? Needs no learned weights.

Positions are (column, row) in px; the image spans 0..W and 0..H, so the centre of the first pixel is (0.5, 0.5).
Lenses are (fx, fy, cx, cy) in px, poses world_from_camera [4,4] with OpenCV axes (x right, y down, z forward).

Shape legend: N matches, M corners, T frames, H W rows and columns, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Measure

MEASURES: dict[str, Measure] = {
    "tsed": Measure(
        label="TSED",
        better="higher",
        decimals=3,
        meaning="Thresholded symmetric epipolar distance: share of the pairs of frames, one latent frame apart, whose "
        "matched points lie on the epipolar lines of the commanded cameras, to 2 px in pictures of 256. A pair with "
        "fewer than 10 matches counts as inconsistent.",
    ),
    "tsed_matched": Measure(
        label="pairs with matches",
        better="higher",
        decimals=3,
        meaning="Share of those pairs in which 10 points were matched at all: no TSED can be higher.",
    ),
}

Points = NDArray[np.float64]
"""[N,2] px."""


def fundamental_matrix(
    lens_a: np.ndarray, world_from_a: np.ndarray, lens_b: np.ndarray, world_from_b: np.ndarray
) -> NDArray[np.float64]:
    """F [3,3] with b^T F a = 0 for the homogeneous positions a, b of one point in the two pictures.

    F = K_b^-T [t]x R K_a^-1 with R, t of b_from_a (Hartley and Zisserman, 9.2.4). ValueError when the cameras stand in
    one place: such a pair has no epipolar lines.
    """
    b_from_a = np.linalg.inv(np.asarray(world_from_b, np.float64)) @ np.asarray(world_from_a, np.float64)
    x, y, z = b_from_a[:3, 3]
    if np.hypot(np.hypot(x, y), z) < 1e-9:
        raise ValueError("both cameras stand in one place: there is no epipolar line to be near to")
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.inv(_matrix(lens_b)).T @ cross @ b_from_a[:3, :3] @ np.linalg.inv(_matrix(lens_a))


def _matrix(lens: np.ndarray) -> NDArray[np.float64]:
    fx, fy, cx, cy = np.asarray(lens, np.float64)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _lines(fundamental: np.ndarray, a_N2: Points, b_N2: Points) -> tuple[Points, Points, Points]:
    """(lines of a in picture b [N,3], lines of b in picture a [N,3], b^T F a [N])."""
    a_N3, b_N3 = (np.concatenate([points, np.ones((len(points), 1))], axis=1) for points in (a_N2, b_N2))
    in_b_N3, in_a_N3 = a_N3 @ fundamental.T, b_N3 @ fundamental
    return in_b_N3, in_a_N3, (in_b_N3 * b_N3).sum(1)


def symmetric_distance_px(fundamental: np.ndarray, a_N2: Points, b_N2: Points) -> NDArray[np.float64]:
    """Mean of the distances of each point from the line of its partner, in both pictures, px [N] (SED)."""
    in_b_N3, in_a_N3, product_N = _lines(fundamental, a_N2, b_N2)
    lengths = (np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-15) for lines in (in_b_N3, in_a_N3))
    return sum((np.abs(product_N) / length_N for length_N in lengths), np.zeros(len(product_N))) / 2


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """Thresholded symmetric epipolar distance (Yu et al., arXiv 2304.10700) over pairs of frames."""

    consistent: int
    """Pairs with enough matches whose median distance is below the threshold."""
    matched: int
    """Pairs with enough matches."""
    pairs: int
    """Pairs whose commanded cameras stand in two places."""
    medians_px: tuple[float, ...]
    """Median distance of each matched pair."""

    @property
    def tsed(self) -> float | None:
        """Share of consistent pairs; None without any pair."""
        return self.consistent / self.pairs if self.pairs else None


def consistency(
    video_THWC: np.ndarray,
    lens_T4: np.ndarray,
    world_from_camera_T44: np.ndarray,
    *,
    gap: int = 1,
    min_matches: int = 10,
    max_distance: float = 2 / 256,
    min_baseline_m: float = 0.02,
) -> Consistency:
    """TSED of a clip against the commanded cameras, over the pairs of frames (t, t + gap).

    Poses are the commanded ones, never fitted to the pictures, so a wrong path is not explained away. How far the
    camera goes cannot be seen, only where; and a frozen video is found out only where the command also turns: without
    a turn every point lies on its own line. Pairs whose cameras are less than min_baseline_m
    apart are left out. The defaults are the published ones: 10 matches, and 2 px in pictures 256 px wide; max_distance
    is in picture widths. A gap of several frames tells wrong paths apart better than neighbours do.
    """
    fits: list[float] = []
    pairs = 0
    found = [corners(frame) for frame in video_THWC]
    for a in range(len(video_THWC) - gap):
        b = a + gap
        if np.linalg.norm(world_from_camera_T44[b][:3, 3] - world_from_camera_T44[a][:3, 3]) < min_baseline_m:
            continue
        pairs += 1
        a_N2, b_N2 = matches(video_THWC[a], video_THWC[b], found[a], found[b])
        if len(a_N2) >= min_matches:
            fundamental = fundamental_matrix(lens_T4[a], world_from_camera_T44[a], lens_T4[b], world_from_camera_T44[b])
            fits.append(float(np.median(symmetric_distance_px(fundamental, a_N2, b_N2))))
    consistent = sum(fit < max_distance * video_THWC.shape[2] for fit in fits)
    return Consistency(consistent=consistent, matched=len(fits), pairs=pairs, medians_px=tuple(fits))


def epipolar_scores(parts: Sequence[Consistency]) -> dict[str, float]:
    """MEASURES of one clip from the consistency of its views. NaN for a command under which no camera moves."""
    pairs = sum(part.pairs for part in parts)
    if not pairs:
        return dict.fromkeys(MEASURES, float("nan"))
    return {
        "tsed": sum(part.consistent for part in parts) / pairs,
        "tsed_matched": sum(part.matched for part in parts) / pairs,
    }


PATCH_PX = 7
"""Edge of the square that is compared."""


def _grey(picture_HWC: np.ndarray) -> NDArray[np.float64]:
    return np.asarray(picture_HWC, np.float64) @ [0.299, 0.587, 0.114]


def _box(image_HW: np.ndarray, edge: int) -> NDArray[np.float64]:
    """Sum over the edge x edge square around each pixel; edge is odd, outside repeats the border."""
    padded = np.pad(image_HW, edge // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (edge, edge))
    result: NDArray[np.float64] = windows.sum((-1, -2))
    return result


def corners(picture_HWC: np.ndarray, limit: int = 200) -> NDArray[np.int64]:
    """Places [M,2] (row, column) of the strongest corners, by the smaller eigenvalue of the structure tensor.

    Shi and Tomasi 1994: local maxima in 3 x 3 px, far enough from the border for a whole patch.
    """
    grey = _grey(picture_HWC)
    down, across = np.asarray(np.gradient(grey))
    xx, yy, xy = (_box(product, 3) for product in (across * across, down * down, across * down))
    strength = (xx + yy) / 2 - np.sqrt(np.square((xx - yy) / 2) + np.square(xy))
    padded = np.pad(strength, 1, mode="constant", constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max((-1, -2))
    is_corner = (strength == highest) & (strength > 0.01 * strength.max()) & (strength > 10)
    margin = PATCH_PX // 2
    inside = np.zeros_like(is_corner)
    inside[margin:-margin, margin:-margin] = True
    places = np.argwhere(is_corner & inside)
    order = np.argsort(-strength[tuple(places.T)], kind="stable")[:limit]
    return places[order]


def _patches(picture_HWC: np.ndarray, places_M2: np.ndarray) -> NDArray[np.float64]:
    """Patches around the places, each with mean 0 and length 1, [M, PATCH_PX^2]."""
    windows = np.lib.stride_tricks.sliding_window_view(_grey(picture_HWC), (PATCH_PX, PATCH_PX))
    rows, columns = (places_M2 - PATCH_PX // 2).T
    flat = windows[rows, columns].reshape(len(places_M2), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def matches(
    a_HWC: np.ndarray, b_HWC: np.ndarray, corners_a: np.ndarray, corners_b: np.ndarray, *, min_likeness: float = 0.8
) -> tuple[Points, Points]:
    """Matched positions in two pictures, px [N,2] each.

    Corners whose patches are each other's most alike (normalised cross-correlation of at least min_likeness), and
    clearly more than the second most alike: Lowe's ratio of 0.75 on the distance of patches. Finds motions of any
    length, to whole pixels.
    """
    if min(len(corners_a), len(corners_b)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    likeness = _patches(a_HWC, corners_a) @ _patches(b_HWC, corners_b).T
    best = likeness.argmax(1)
    top_two = np.sort(likeness, axis=1)[:, -2:]
    distances = np.sqrt(np.maximum(2 - 2 * top_two, 0))
    keep = (likeness.argmax(0)[best] == np.arange(len(best))) & (top_two[:, 1] >= min_likeness)
    keep &= distances[:, 1] < 0.75 * distances[:, 0]
    a_places, b_places = corners_a[keep], corners_b[best[keep]]
    return a_places[:, ::-1] + 0.5, b_places[:, ::-1] + 0.5
