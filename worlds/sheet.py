"""A contact sheet of datasets: episodes down, time across."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from worldtune.contract.files import write_whole
from worldtune.dataset import Dataset

COLOUR_STEP = 6
"""Colours are rounded to multiples of this, to keep the file small."""
GAP_PX = 2


def contact_sheet(folders: Sequence[Path], path: Path, *, episodes: int = 2, columns: int = 8, zoom: int = 2) -> None:
    """Write a picture (.webp with loss, else PNG) of the first episodes of datasets; cameras one after the other."""
    rows = [row for folder in folders for row in _rows(Dataset.open(folder), episodes, columns)]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, GAP_PX), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    rounded = np.round(np.concatenate(padded) / COLOUR_STEP) * COLOUR_STEP
    sheet = rounded.clip(0, 255).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
    with write_whole(path) as temporary:
        if path.suffix == ".webp":
            Image.fromarray(sheet).save(temporary, format="WEBP", quality=75, method=6)
        else:
            Image.fromarray(sheet).save(temporary, format="PNG", optimize=True)


def _rows(dataset: Dataset, episodes: int, columns: int) -> list[np.ndarray]:
    """One row per episode, or per camera of one episode when there are several."""
    if len(dataset.views) > 1:
        return [_row(dataset, 0, view, columns) for view in dataset.views]
    return [_row(dataset, episode, dataset.views[0], columns) for episode in range(episodes)]


def _row(dataset: Dataset, episode: int, view: str, columns: int) -> np.ndarray:
    """[H, columns * W, 3]: frames evenly spaced in time."""
    indices = np.linspace(0, dataset.episodes[episode].length - 1, columns).round().astype(int)
    return np.concatenate(list(dataset.frames(episode, view, indices.tolist())), axis=1)
