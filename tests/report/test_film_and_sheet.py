"""Film strips, contact sheets and animations."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldtune.report.film import film_uri, shrunk, strip, tiled
from worldtune.report.sheet import animation, contact_sheet


def video(frames: int = 4, height: int = 16, width: int = 24) -> np.ndarray:
    levels = np.linspace(0, 250, frames).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy()


def test_views_are_tiled_three_to_a_row() -> None:
    views = np.stack([np.full((2, 4, 5, 3), view, np.uint8) for view in range(5)])
    frame = tiled(views)[0]
    assert frame.shape == (8, 15, 3)
    assert [frame[0, 0, 0], frame[0, 14, 0], frame[4, 0, 0], frame[4, 9, 0], frame[4, 14, 0]] == [0, 2, 3, 4, 0]


def test_a_strip_runs_from_left_to_right() -> None:
    image = strip(video())
    assert image.shape == (16, 96, 3)
    assert list(image[0, ::24, 0]) == [0, 83, 166, 250]
    assert strip(video(), margin_px=2).shape == (16, 102, 3)


def test_a_film_is_a_webp_of_all_frames() -> None:
    head, data = film_uri(video()).split(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (96, 16)
        assert abs(np.asarray(image.convert("RGB")).astype(int) - strip(video()).astype(int)).max() < 12


def test_only_large_clips_are_shrunk() -> None:
    assert shrunk(video()) is not None
    assert shrunk(video()).shape == (4, 16, 24, 3)
    assert shrunk(video(2, 100, 640)).shape == (2, 50, 320, 3)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_contact_sheet_has_a_row_per_column_and_clip(tmp_path: Path, suffix: str) -> None:
    clip = {"true": video(), "generated": video(), "base": video()}
    path = contact_sheet([clip, clip], tmp_path / f"sheet{suffix}", num_frames=3, scale=2)
    with Image.open(path) as image:
        assert image.size == (96 + 3 * 48 + 2 * 2, 2 * (3 * 32 + 2 * 2) + 8)
    with pytest.raises(ValueError, match="no clip to show"):
        contact_sheet([], tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"ends in \.png or \.webp"):
        contact_sheet([clip], tmp_path / "sheet.jpg")


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_an_animation_has_every_frame(tmp_path: Path, suffix: str) -> None:
    path = animation({"true": video(), "base": video()}, tmp_path / f"clip{suffix}", fps_hz=8.0)
    with Image.open(path) as image:
        assert image.size == (2 * 48 + 2, 32 + 20)
        assert image.n_frames == 4


def test_an_animation_in_an_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.gif, \.png or \.webp"):
        animation({"true": video()}, tmp_path / "clip.mp4", fps_hz=8.0)
