"""Recorded poses and lenses: checked, made relative, and put on the latent grid.

Shape legend: V views, T frames (pixel frames before `by_latent`, latent frames after), R pixel frames of one latent
frame.
"""

import numpy as np

from worldtune.contract.poses import require_poses

MIN_FOCAL = 0.05
"""Shortest focal length in image widths, a field of view of 169 degrees."""


def relative_poses(world_from_camera_VT: np.ndarray, frames: tuple[int, int], source: str) -> np.ndarray:
    """[V,T,4,4] -> first_from_camera [V,T,4,4], float64: poses seen from the first frame of the first view.

    frames: the wanted (V, T). A rigid motion of the world changes nothing. ValueError naming the source and the
    feature when a matrix is no rigid transform.
    """
    name = f"{source}: camera.world_from_camera"
    poses = np.asarray(world_from_camera_VT, np.float64)
    if poses.shape != (*frames, 4, 4):
        raise ValueError(f"{name} has shape {list(poses.shape)}, wanted {[*frames, 4, 4]}: one pose per frame")
    require_poses(poses, name)
    return np.linalg.inv(poses[0, 0]) @ poses


def checked_lens(lens_VT4: np.ndarray, frames: tuple[int, int], size_px: tuple[int, int], source: str) -> np.ndarray:
    """fx, fy, cx, cy in px [V,T,4], float64. ValueError naming the source when they do not fit pictures of size_px.

    Lenses in units of the picture's size and lenses of a picture of another size are the common mistakes.
    """
    name = f"{source}: camera.intrinsics"
    lens = np.asarray(lens_VT4, np.float64)
    if lens.shape != (*frames, 4):
        raise ValueError(f"{name} has shape {list(lens.shape)}, wanted {[*frames, 4]}: fx, fy, cx, cy per frame")
    height_px, width_px = size_px
    sizes = np.array([width_px, height_px])
    focal, centre = lens[..., :2], lens[..., 2:]
    if not np.isfinite(lens).all() or (focal < MIN_FOCAL * sizes).any():
        raise ValueError(
            f"{name}: fx, fy are {focal.min(axis=(0, 1)).tolist()} px in pictures of {width_px} x {height_px} px; "
            "wanted px of the stored frames, not shares of their size"
        )
    if (centre < -sizes).any() or (centre > 2 * sizes).any():
        worst = centre.reshape(-1, 2)[np.abs(centre - sizes / 2).max(-1).argmax()]
        raise ValueError(
            f"{name}: the principal point {worst.tolist()} px lies far outside pictures of {width_px} x {height_px} "
            "px; wanted px of the stored frames"
        )
    return lens


def by_latent(values_VT: np.ndarray, frames_per_latent: int) -> np.ndarray:
    """Values of pixel frames [V,1+(T-1)R,...] -> [V,T,R,...].

    Latent frame k >= 1 holds pixel frames (k-1)R+1 .. kR; latent frame 0 holds pixel frame 0, R times.
    """
    views, num_frames, *rest = values_VT.shape
    assert (num_frames - 1) % frames_per_latent == 0, (num_frames, frames_per_latent)
    first = np.repeat(values_VT[:, :1, None], frames_per_latent, axis=2)
    return np.concatenate([first, values_VT[:, 1:].reshape(views, -1, frames_per_latent, *rest)], axis=1)
