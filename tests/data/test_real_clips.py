"""Real recordings, where they are present: NVIDIA's driving clips and BridgeData kitchen videos."""

import shutil
from pathlib import Path

import pytest

from tests.data.toy_base import toy_base
from worldtune.contract.cache import Cache
from worldtune.dataset import Dataset
from worldtune.stages.convert import convert
from worldtune.stages.prepare import prepare
from worldtune.video.read import probe, read_frames

REAL = Path(__file__).parents[2].parent / "shared/data"


def real(name: str) -> Path:
    if not (REAL / name).is_dir():
        pytest.skip(f"real clips are not here: no {REAL / name}")
    return REAL / name


def test_driving_clips_from_files_to_cache(tmp_path: Path) -> None:
    for path in [*real("driving").glob("*/clip_0.*"), *real("driving").glob("*/clip_1.*")]:
        copy = tmp_path / "source" / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    read = Dataset.open(convert(tmp_path / "source", tmp_path / "d", "videos"))
    assert read.fps_hz == 30
    assert {e.length for e in read.episodes} == {60}
    assert all(e.texts[0].startswith("A video recorded from a moving vehicle") for e in read.episodes)
    base = toy_base(tmp_path / "base")
    cache = Cache.open(
        prepare(tmp_path / "d", tmp_path / "c", base, controls=("text",), window={"fps_hz": 3.0, "stride": 5})
    )
    assert len(cache) == len(read.episodes)


def test_bridge_videos_are_read() -> None:
    for path in sorted(real("bridge").glob("videos/*/*/rgb.mp4"))[:4]:
        info = probe(path)
        assert (info.fps_hz, info.is_constant_rate, info.codec) == (3.0, True, "mpeg4")
        last_s = (info.num_frames - 1) / 3
        assert read_frames(path, [0.0, last_s], tolerance_s=0.01).shape == (2, info.height_px, info.width_px, 3)
