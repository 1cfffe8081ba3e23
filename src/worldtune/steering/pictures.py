"""Pictures on their way to and from the page."""

import io
import json
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_UPLOAD_BYTES = 8 << 20
MAX_UPLOAD_PIXELS = 40_000_000
"""Checked before anything is unpacked: a small file may claim an enormous picture."""
FORMATS = ("JPEG", "PNG", "WEBP")
QUALITY = 90
LOSSLESS_PIXELS = 1 << 16
"""Pictures up to this size lose nothing: there are few bytes to save, and halved colour would show."""


def packed(header: dict[str, Any], images: Sequence[bytes]) -> bytes:
    """One WebSocket message: length of the header (uint32, little endian), the header as JSON, the images.

    The header gains "sizes", the bytes of each image.
    """
    described = json.dumps({**header, "sizes": [len(image) for image in images]}).encode()
    return struct.pack("<I", len(described)) + described + b"".join(images)


def encoded(image_HWC: np.ndarray) -> bytes:
    """WebP, which all browsers of today show; with loss when the picture is large."""
    stream, is_small = io.BytesIO(), image_HWC.shape[0] * image_HWC.shape[1] <= LOSSLESS_PIXELS
    effort = {"lossless": True, "quality": 0} if is_small else {"quality": QUALITY}
    Image.fromarray(image_HWC).save(stream, "WEBP", method=0, **effort)
    return stream.getvalue()


def read_upload(data: bytes) -> np.ndarray:
    """A picture from outside, uint8 [H,W,3], upright. ValueError for anything but a whole JPEG, PNG or WebP."""
    if len(data) > MAX_UPLOAD_BYTES:
        raise ValueError(f"the picture has more than {MAX_UPLOAD_BYTES >> 20} MiB")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_UPLOAD_PIXELS:
                raise ValueError(f"the picture is {image.width} x {image.height}, at most 40 megapixels are read")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError("not a whole JPEG, PNG or WebP picture") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a whole JPEG, PNG or WebP picture ({error})") from None


def zipped(folder: Path) -> bytes:
    """All files of a folder, under its name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent))
    return stream.getvalue()
