"""The cache format: whole entries, strict headers, clear errors."""

import json
from pathlib import Path

import pytest
import torch

from worldtune.contract.cache import Cache, CacheHeader, CacheWriter
from worldtune.contract.nouns import Grid

GRID = Grid(views=1, frames=2, height=2, width=3, frames_per_latent=4, pixels_per_latent=8)


def header(**changes: object) -> CacheHeader:
    values: dict = {
        "base": "toy",
        "codec": "codec-1",
        "text_encoder": "text-1",
        "dataset": "data",
        "dataset_identity": "1",
        "window": {"num_frames": 5},
        "grid": GRID,
        "controls": ["text"],
        "arrays": {"text/tokens": [1, 4, 2]},
    }
    return CacheHeader(**{**values, **changes})


def entry(rows: int = 3) -> dict[str, torch.Tensor]:
    return {"latent": torch.randn(1, 2, 2, 3, 16).half(), "text/tokens": torch.ones(1, rows, 2)}


def info(split: str = "train") -> dict:
    return {"split": split, "fps_hz": 10.0, "texts": ["a"], "views": ["front"]}


def filled(folder: Path) -> CacheWriter:
    writer = CacheWriter(folder, header())
    for number in range(4):
        writer.add(f"clip-{number}", entry(rows=number + 1), info("val" if number == 3 else "train"))
    return writer


def test_round_trip_pads_arrays_and_keeps_order(tmp_path: Path) -> None:
    filled(tmp_path / "cache").finish([f"clip-{number}" for number in (2, 0, 1, 3)])
    cache = Cache.open(tmp_path / "cache")
    assert cache.ids == ("clip-2", "clip-0", "clip-1", "clip-3")
    assert cache.indices("val") == [3]
    assert cache.header == header()
    tokens = cache.tensors(1)["text/tokens"]
    assert tokens.shape == (1, 4, 2)
    assert tokens[0, :, 0].tolist() == [1, 0, 0, 0]


def test_a_header_with_settings_of_controls_is_still_read_and_continued(tmp_path: Path) -> None:
    """As earlier versions wrote it. None of the settings decided what was cached."""
    filled(tmp_path).finish([f"clip-{number}" for number in range(4)])
    path = tmp_path / "header.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "controls": {"text": {"dropout": 0.1}}}))
    assert Cache.open(tmp_path).header == header()
    CacheWriter(tmp_path, header())
    with pytest.raises(ValueError, match="another controls"):
        CacheWriter(tmp_path, header(controls=["action", "text"]))


def test_an_unfinished_cache_is_refused_and_can_be_continued(tmp_path: Path) -> None:
    filled(tmp_path / "cache")
    with pytest.raises(ValueError, match="prepare has not finished"):
        Cache.open(tmp_path / "cache")
    writer = CacheWriter(tmp_path / "cache", header())
    assert "clip-0" in writer
    with pytest.raises(ValueError, match="1 of 2 clips are not encoded, e.g. clip-9"):
        writer.finish(["clip-0", "clip-9"])


@pytest.mark.parametrize("change", [{"codec": "codec-2"}, {"text_encoder": "text-2"}, {"window": {"num_frames": 9}}])
def test_another_codec_text_encoder_or_window_is_refused(tmp_path: Path, change: dict) -> None:
    filled(tmp_path / "cache")
    with pytest.raises(ValueError, match=f"made with another {next(iter(change))}"):
        CacheWriter(tmp_path / "cache", header(**change))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty and not a cache"):
        CacheWriter(tmp_path, header())
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_broken_index_names_its_file(tmp_path: Path) -> None:
    filled(tmp_path).finish(["clip-0"])
    (tmp_path / "index.json").write_text('{"id": "clip-0"}')
    with pytest.raises(ValueError, match=r"index\.json: not a cache index of version 1"):
        Cache.open(tmp_path)


def test_a_corrupt_entry_names_its_file(tmp_path: Path) -> None:
    filled(tmp_path).finish(["clip-0"])
    path = tmp_path / "entries" / "clip-0.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"clip-0\.safetensors: cache entry is missing or corrupt"):
        Cache.open(tmp_path).tensors(0)
