"""Contact sheets and short animations for documents: rows are columns of a report, frames run from left to right.

Shape legend: T frames, H W rows and columns, C = 3 colours.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldtune.contract.files import write_whole
from worldtune.report.film import strip

MARGIN_PX = 2
LABEL_WIDTH_PX = 96
QUALITY = 55
"""Of pictures with loss: documents stay small."""
INK = (60, 60, 60)
PAPER = 255


def contact_sheet(
    clips: Sequence[Mapping[str, np.ndarray]], path: Path, *, num_frames: int = 9, scale: int = 1
) -> Path:
    """Write a picture of several clips under one another, .png or .webp (with loss) by the suffix.

    clips: per clip, row name -> uint8 [T,H,W,3]. `num_frames` frames are taken at equal distances, first and last
    included. ValueError when there is no clip, and for another suffix.
    """
    if not clips:
        raise ValueError(f"{path}: no clip to show")
    if path.suffix not in (".png", ".webp"):
        raise ValueError(f"{path}: a contact sheet ends in .png or .webp")
    blocks = [_block(clip, num_frames, scale) for clip in clips]
    gap = np.full((4 * MARGIN_PX, blocks[0].shape[1], 3), PAPER, np.uint8)
    parts = [part for block in blocks for part in (gap, block)][1:]
    image = Image.fromarray(np.concatenate(parts))
    with write_whole(path) as temporary:
        if path.suffix == ".png":
            image.quantize(256).save(temporary, "PNG", optimize=True)
        else:
            image.save(temporary, "WEBP", quality=QUALITY, method=6)
    return path


def animation(clips: Mapping[str, np.ndarray], path: Path, *, fps_hz: float, scale: int = 2) -> Path:
    """Write columns side by side, labelled, as one endless animation; .gif, .png (APNG) or .webp by the suffix.

    clips: column name -> uint8 [T,H,W,3], all of one shape.
    """
    form = {".gif": "GIF", ".png": "PNG", ".webp": "WEBP"}.get(path.suffix)
    if form is None:
        raise ValueError(f"{path}: an animation ends in .gif, .png or .webp")
    videos = [_enlarged(video, scale) for video in clips.values()]
    joined = [strip(np.stack(moment), margin_px=MARGIN_PX, colour=PAPER) for moment in zip(*videos, strict=True)]
    heading = _heading(tuple(clips), videos[0].shape[2])
    images = [Image.fromarray(np.concatenate([heading, frame])) for frame in joined]
    with write_whole(path) as temporary:
        images[0].save(
            temporary, form, save_all=True, append_images=images[1:], duration=round(1000 / fps_hz), loop=0,
            **({"quality": QUALITY, "method": 6} if form == "WEBP" else {}),
        )  # fmt: skip
    return path


def _block(clip: Mapping[str, np.ndarray], num_frames: int, scale: int) -> np.ndarray:
    """The rows of one clip."""
    rows = []
    for name, video in clip.items():
        chosen = np.linspace(0, len(video) - 1, min(num_frames, len(video))).round().astype(int)
        frames = strip(_enlarged(video[chosen], scale), margin_px=MARGIN_PX, colour=PAPER)
        rows.append(np.concatenate([_label(name, LABEL_WIDTH_PX, frames.shape[0]), frames], axis=1))
        rows.append(np.full((MARGIN_PX, rows[0].shape[1], 3), PAPER, np.uint8))
    return np.concatenate(rows[:-1])


def _enlarged(video_THWC: np.ndarray, scale: int) -> np.ndarray:
    return video_THWC.repeat(scale, axis=1).repeat(scale, axis=2)


def _label(text: str, width_px: int, height_px: int) -> np.ndarray:
    """Text in the middle of a white box: uint8 [H,W,3]."""
    image = Image.new("RGB", (width_px, height_px), (PAPER,) * 3)
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(image).text((width_px / 2, height_px / 2), text, fill=INK, font=font, anchor="mm")
    return np.asarray(image)


def _heading(names: tuple[str, ...], width_px: int) -> np.ndarray:
    return strip(np.stack([_label(name, width_px, 20) for name in names]), margin_px=MARGIN_PX, colour=PAPER)
