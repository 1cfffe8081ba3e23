"""Pixel measures: PSNR, SSIM and PSNR where the true clip moves.

Shape legend: V views, T pixel frames, H W rows and columns, C = 3 colours. Observed frames are given to the model, so
no measure counts them.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torchmetrics.functional.image import structural_similarity_index_measure

Video = NDArray[np.uint8]

PICTURE_PX = 64
"""The shorter side of what judges look at; larger pictures are made smaller."""
PEAK = 255.0
ROUNDING_MSE = 1.0 / 12.0
"""Mean squared error of rounding to whole uint8 levels; a smaller error is not visible in the data."""
PSNR_LIMIT_DB = 10.0 * math.log10(PEAK**2 / ROUNDING_MSE)
"""Value of identical clips (58.9 dB): a finite number, so that means stay finite."""

SSIM_SIGMA_PX = 1.5
SSIM_WINDOW_PX = 11
SSIM_K1 = 0.01
SSIM_K2 = 0.03

MOTION_LEVELS = 20
"""A pixel is dynamic when a colour differs from the last observed frame by more than this many of 255 levels."""
MOTION_MARGIN_PX = 1
"""Dynamic regions grow by this much to every side, so the rim of a moving thing counts."""


def unobserved(made_VTHWC: Video, real_VTHWC: Video, num_observed: int) -> tuple[Video, Video]:
    """Both clips without their first `num_observed` frames.

    ValueError when the clips differ in shape, are not uint8, or have no frame left.
    """
    if made_VTHWC.shape != real_VTHWC.shape:
        raise ValueError(f"made and real clip differ in shape: {made_VTHWC.shape} and {real_VTHWC.shape}")
    if made_VTHWC.dtype != np.uint8 or real_VTHWC.dtype != np.uint8:
        raise ValueError(f"clips must be uint8, got {made_VTHWC.dtype} and {real_VTHWC.dtype}")
    if not 0 <= num_observed < made_VTHWC.shape[1]:
        raise ValueError(f"{num_observed} observed frames leave nothing of a clip of {made_VTHWC.shape[1]} frames")
    return made_VTHWC[:, num_observed:], real_VTHWC[:, num_observed:]


def squared_error(made: Video, real: Video) -> NDArray[np.float64]:
    """Squared difference per value, in uint8 levels squared."""
    return (made.astype(np.float64) - real.astype(np.float64)) ** 2


def db_from_mse(mse: float) -> float:
    """PSNR in dB of a mean squared error in uint8 levels squared, at most PSNR_LIMIT_DB."""
    return 10.0 * math.log10(PEAK**2 / max(mse, ROUNDING_MSE))


def psnr_db(made_VTHWC: Video, real_VTHWC: Video, num_observed: int) -> float:
    """PSNR of one clip: one mean error over all views, unobserved frames, pixels and colours, in dB."""
    made, real = unobserved(made_VTHWC, real_VTHWC, num_observed)
    return db_from_mse(float(squared_error(made, real).mean()))


def psnr_per_frame_db(made_VTHWC: Video, real_VTHWC: Video, num_observed: int) -> list[float]:
    """PSNR of every unobserved frame (over all views), in order."""
    made, real = unobserved(made_VTHWC, real_VTHWC, num_observed)
    return [db_from_mse(float(mse)) for mse in squared_error(made, real).mean(axis=(0, 2, 3, 4))]


def ssim(made_VTHWC: Video, real_VTHWC: Video, num_observed: int) -> float:
    """Mean structural similarity of the unobserved frames, at most 1.

    Per frame on RGB, Gaussian window of 11 px (sigma 1.5 px), k1 0.01, k2 0.03, range 255 (Wang et al. 2004; the
    constants of torchmetrics, which computes it in float32, exact to about 2e-4).
    ValueError when the window does not fit into the frame.
    """
    made, real = unobserved(made_VTHWC, real_VTHWC, num_observed)
    if min(made.shape[2:4]) < SSIM_WINDOW_PX:
        raise ValueError(f"SSIM needs frames of at least {SSIM_WINDOW_PX} px, got {made.shape[2]} x {made.shape[3]}")
    value = structural_similarity_index_measure(
        images(made),
        images(real),
        gaussian_kernel=True,
        sigma=SSIM_SIGMA_PX,
        kernel_size=SSIM_WINDOW_PX,
        data_range=PEAK,
        k1=SSIM_K1,
        k2=SSIM_K2,
    )
    assert isinstance(value, torch.Tensor)
    return float(value)


def images(video_VTHWC: Video) -> torch.Tensor:
    """Every frame of every view as one image: float [V*T,C,H,W], 0..255."""
    flat = video_VTHWC.reshape(-1, *video_VTHWC.shape[2:])
    return torch.from_numpy(np.ascontiguousarray(flat)).permute(0, 3, 1, 2).float()


def shrunk(pictures_NCHW: torch.Tensor) -> torch.Tensor:
    """Pictures as judges look at them: the shorter side at most PICTURE_PX, each pixel the mean of those it covers."""
    shorter = min(pictures_NCHW.shape[-2:])
    if shorter <= PICTURE_PX:
        return pictures_NCHW
    size = [round(side * PICTURE_PX / shorter) for side in pictures_NCHW.shape[-2:]]
    return F.interpolate(pictures_NCHW.float(), size, mode="area")


def dynamic_mask(real_VTHWC: Video, num_observed: int) -> NDArray[np.bool_]:
    """Where the true clip has moved: bool [V,T - num_observed,H,W].

    A pixel is dynamic in a frame when one of its colours differs by more than MOTION_LEVELS from the last observed
    frame; the region is then grown by MOTION_MARGIN_PX. With num_observed 0 the first frame is the reference.
    """
    last = max(num_observed, 1) - 1
    real = real_VTHWC.astype(np.int16)
    moved = np.abs(real[:, num_observed:] - real[:, last : last + 1]).max(axis=-1) > MOTION_LEVELS
    return grown(grown(moved, axis=2), axis=3)


def grown(mask_VTHW: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """The mask widened by MOTION_MARGIN_PX to both sides of one axis."""
    result = mask_VTHW.copy()
    length = mask_VTHW.shape[axis]
    for shift in range(1, MOTION_MARGIN_PX + 1):
        near, far = np.arange(shift, length), np.arange(length - shift)
        result[(slice(None),) * axis + (near,)] |= mask_VTHW.take(far, axis)
        result[(slice(None),) * axis + (far,)] |= mask_VTHW.take(near, axis)
    return result


def dynamic_psnr_db(made_VTHWC: Video, real_VTHWC: Video, num_observed: int) -> float | None:
    """PSNR over the dynamic region of the true clip; None when nothing moves in it."""
    made, real = unobserved(made_VTHWC, real_VTHWC, num_observed)
    mask = dynamic_mask(real_VTHWC, num_observed)
    if not mask.any():
        return None
    return db_from_mse(float(squared_error(made, real)[mask].mean()))
