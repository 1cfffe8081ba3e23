"""The prepare stage: encodes once, continues after a kill or a full disk, refuses what does not belong together."""

import errno
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.data.recordings import dataset, episode, snapshot, truncate
from tests.data.toy_base import toy_base
from tests.layouts.foreign import change_json
from worldtune.contract.cache import Cache, CacheWriter
from worldtune.dataset import Dataset, Window, write_dataset
from worldtune.stages.clip_reader import ClipReader
from worldtune.stages.prepare import prepare

VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"


def prepared(tmp_path: Path, folder: Path, **window: Any) -> Cache:
    base = toy_base(tmp_path / "base")
    return Cache.open(prepare(folder, tmp_path / "cache", base, controls=("text",), window=window))


def test_entries_hold_what_the_codec_and_the_encoder_give(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    cache = prepared(tmp_path, folder)
    base, read = toy_base(tmp_path / "base"), Dataset.open(folder)
    assert len(cache) == 2 + 2 + 4
    assert cache.ids[3] == "d-000001-000004"
    info = cache.info(3)
    assert (info["split"], info["fps_hz"], info["episode"], info["start"]) == ("train", 10, 1, 4)
    assert info["texts"] == ["push the red cube"]
    clip = read.read_clip(1, 4, Window(num_frames=5, height_px=16, width_px=16))
    latent = base.codec().encode(torch.from_numpy(clip.video_VTHWC)[None])[0]
    tensors = cache.tensors(3)
    assert torch.allclose(tensors["latent"].float(), latent, atol=2e-3)
    assert tensors["latent"].dtype == torch.float16
    rows = base.text_encoder().encode(["push the red cube"])[0]
    assert tensors["text/tokens"].shape == (1, 6, 8)
    assert torch.allclose(tensors["text/tokens"][0, :4].float(), rows, atol=2e-3)
    assert tensors["text/tokens"][0, 4:].abs().max() == 0
    assert cache.header.grid.shape == (1, 2, 2, 2)
    assert cache.header.controls == ["text"]
    assert len(cache.indices("val")) == 4


def test_every_view_has_its_own_text(tmp_path: Path) -> None:
    recorded = [episode(6, ("front", "rear"), text=("one two three", "one")) for _ in range(2)]
    cache = prepared(tmp_path, write_dataset(tmp_path / "d", recorded, fps_hz=10))
    tokens = cache.tensors(0)["text/tokens"]
    assert tokens.shape == (2, 6, 8)
    assert tokens[1, 1:].abs().max() == 0
    assert tokens[0, 2].abs().max() > 0
    assert cache.tensors(0)["latent"].shape == (2, 2, 2, 2, 4)


def test_no_caption_is_no_rows(tmp_path: Path) -> None:
    cache = prepared(tmp_path, write_dataset(tmp_path / "d", [episode(6, text="")], fps_hz=10))
    assert cache.tensors(0)["text/tokens"].abs().max() == 0


def test_window_overrides(tmp_path: Path) -> None:
    cache = prepared(tmp_path, dataset(tmp_path / "d", (20,)), num_frames=9, fps_hz=5.0, height_px=24, stride=2)
    assert cache.header.grid.shape == (1, 3, 3, 2)
    assert [cache.info(i)["start"] for i in range(len(cache))] == [0]
    assert cache.info(0)["fps_hz"] == 5


@pytest.mark.parametrize("stride", [2, 11])
def test_further_processes_change_nothing(tmp_path: Path, stride: int) -> None:
    """Clips that overlap are decoded once, others each on its own; whoever reads them, the cache is the same."""
    folder, base = dataset(tmp_path / "d", (12, 9, 20)), toy_base(tmp_path / "base")
    window = {"stride": stride}
    for workers in (0, 2):
        prepare(folder, tmp_path / f"cache{workers}", base, controls=("text",), window=window, workers=workers)
    assert snapshot(tmp_path / "cache2") == snapshot(tmp_path / "cache0")
    cache, read = Cache.open(tmp_path / "cache0"), Dataset.open(folder)
    for index in range(len(cache)):
        info = cache.info(index)
        clip = read.read_clip(info["episode"], info["start"], Window(**cache.header.window))
        alone = base.codec().encode(torch.from_numpy(clip.video_VTHWC)[None])[0]
        assert torch.allclose(cache.tensors(index)["latent"].float(), alone, atol=2e-3)


def test_a_reader_can_be_sent_to_another_process(tmp_path: Path) -> None:
    """As systems that do not fork do."""
    opened = Dataset.open(dataset(tmp_path / "d"))
    window = Window(num_frames=5, height_px=16, width_px=16)
    grid = toy_base(tmp_path / "base").codec().grid(views=1, frames=5, height_px=16, width_px=16)
    reader = ClipReader(dataset=opened, window=window, grid=grid, controls=["text"])
    refs = opened.windows(window)[0][:3]
    here, there = (one.read(refs) for one in (reader, pickle.loads(pickle.dumps(reader))))
    assert [read.clip.id for read in there] == [read.clip.id for read in here]
    for mine, theirs in zip(here, there, strict=True):
        assert np.array_equal(mine.clip.video_VTHWC, theirs.clip.video_VTHWC)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_found_while_reading_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    folder, base = dataset(tmp_path / "d"), toy_base(tmp_path / "base")
    frames = Dataset.frames

    def failing(self: Dataset, episode: int, *others: Any) -> np.ndarray:
        if episode == 2:
            raise ValueError("file.mp4: decoding failed")
        return frames(self, episode, *others)

    monkeypatch.setattr(Dataset, "frames", failing)
    with pytest.raises(ValueError, match=r"^file\.mp4: decoding failed$"):
        prepare(folder, tmp_path / "cache", base, controls=("text",), window={}, workers=workers)


def test_fewer_than_no_processes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--workers must not be negative, got -1"):
        prepare(tmp_path, tmp_path / "cache", toy_base(tmp_path / "base"), controls=("text",), window={}, workers=-1)
    assert not (tmp_path / "cache").exists()


def fail_after(monkeypatch: pytest.MonkeyPatch, num_entries: int, error: BaseException) -> None:
    add, count = CacheWriter.add, iter(range(100))

    def failing(self: CacheWriter, *arguments: Any) -> None:
        if next(count) == num_entries:
            raise error
        add(self, *arguments)

    monkeypatch.setattr(CacheWriter, "add", failing)


@pytest.mark.parametrize(
    ("error", "seen", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            ValueError,
            "cache: the disk is full; what is encoded stays",
        ),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_continues_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, seen: type[BaseException], words: str
) -> None:
    folder, base = dataset(tmp_path / "d"), toy_base(tmp_path / "base")
    prepare(folder, tmp_path / "whole", base, controls=("text",), window={})
    with monkeypatch.context() as patched:
        fail_after(patched, 3, error)
        with pytest.raises(seen, match=words):
            prepare(folder, tmp_path / "cache", base, controls=("text",), window={})
    before = snapshot(tmp_path / "cache")
    assert len(before) == 1 + 3
    with pytest.raises(ValueError, match="prepare has not finished; run the same"):
        Cache.open(tmp_path / "cache")
    prepare(folder, tmp_path / "cache", base, controls=("text",), window={})
    after = snapshot(tmp_path / "cache")
    assert {name: after[name] for name in before} == before
    assert after.keys() == snapshot(tmp_path / "whole").keys()


def test_disk_full_while_a_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, base = dataset(tmp_path / "d"), toy_base(tmp_path / "base")
    write_bytes, count = Path.write_bytes, iter(range(100))

    def failing(self: Path, data: bytes) -> int:
        if next(count) < 2:
            return write_bytes(self, data)
        write_bytes(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", failing)
        with pytest.raises(ValueError, match="the disk is full"):
            prepare(folder, tmp_path / "cache", base, controls=("text",), window={})
    assert len(list((tmp_path / "cache/entries").iterdir())) == 2
    assert len(Cache.open(prepare(folder, tmp_path / "cache", base, controls=("text",), window={}))) == 8


@pytest.mark.parametrize(
    ("other", "window", "words"),
    [
        ({"codec_seed": 1}, {}, "made with another codec"),
        ({"text_seed": 1}, {}, "made with another text_encoder"),
        ({}, {"stride": 2}, "made with another window"),
        ({}, {"num_frames": 9}, "made with another window, grid"),
    ],
)
def test_refuses_a_cache_made_otherwise(
    tmp_path: Path, other: dict[str, int], window: dict[str, Any], words: str
) -> None:
    folder = dataset(tmp_path / "d")
    prepared(tmp_path, folder)
    before = snapshot(tmp_path / "cache")
    with pytest.raises(ValueError, match=f"cache: holds a cache {words}"):
        prepare(folder, tmp_path / "cache", toy_base(tmp_path / "base", **other), controls=("text",), window=window)
    assert snapshot(tmp_path / "cache") == before


def test_refuses_a_changed_dataset(tmp_path: Path) -> None:
    prepared(tmp_path, dataset(tmp_path / "d"))
    (tmp_path / "d").rename(tmp_path / "old")
    with pytest.raises(ValueError, match="made with another dataset_identity"):
        prepared(tmp_path, dataset(tmp_path / "d", (12, 13)))


def test_the_dataset_of_a_cache_is_found_and_must_not_have_changed(tmp_path: Path) -> None:
    cache = prepared(tmp_path, dataset(tmp_path / "d"))
    assert Dataset.of_cache(cache).identity == cache.header.dataset_identity
    (tmp_path / "d").rename(tmp_path / "old")
    dataset(tmp_path / "d", (12, 13))
    with pytest.raises(ValueError, match="d: the dataset has changed since `worldtune prepare` made .*cache"):
        Dataset.of_cache(cache)


DATA = "data/chunk-000/file-000.parquet"


def test_signals_and_videos_changed_in_place_are_noticed(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    cache, before = prepared(tmp_path, folder), snapshot(folder)
    table = pq.read_table(folder / DATA)
    actions = pa.array(np.zeros((len(table), 3), np.float32).tolist(), table["action"].type)
    place = table.schema.names.index("action")
    pq.write_table(table.set_column(place, table.schema.field(place), actions), folder / DATA)
    with pytest.raises(ValueError, match="d: the dataset has changed since"):
        Dataset.of_cache(cache)
    with pytest.raises(ValueError, match="made with another dataset_identity"):
        prepared(tmp_path, folder)
    (folder / DATA).write_bytes(before[DATA])
    (folder / VIDEO).write_bytes(before[VIDEO] + b"more")
    with pytest.raises(ValueError, match="d: the dataset has changed since"):
        Dataset.of_cache(cache)
    (folder / VIDEO).unlink()
    with pytest.raises(ValueError, match="d: the dataset has changed since"):
        Dataset.of_cache(cache)


def test_a_copy_is_the_same_dataset(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert Dataset.open(tmp_path / "copy").identity == Dataset.open(folder).identity


def test_earlier_caches_know_meta_alone(tmp_path: Path) -> None:
    cache = prepared(tmp_path, dataset(tmp_path / "d"))
    path = tmp_path / "cache/header.json"
    change_json(path, lambda value: value.update(dataset_identity=cache.header.dataset_identity[:64]))
    before = path.read_bytes()
    Dataset.of_cache(prepared(tmp_path, tmp_path / "d"))
    assert path.read_bytes() == before, "runs know the cache by its header"
    change_json(path, lambda value: value.update(dataset_identity=64 * "0"))
    with pytest.raises(ValueError, match="d: the dataset has changed since"):
        Dataset.of_cache(Cache.open(path.parent))


def test_a_dataset_that_was_moved_away_is_named_with_its_cache(tmp_path: Path) -> None:
    cache = prepared(tmp_path, dataset(tmp_path / "d"))
    (tmp_path / "d").rename(tmp_path / "elsewhere")
    words = r"cache was made from .*/d, which is no longer there; put it back or prepare again$"
    with pytest.raises(ValueError, match=words):
        Dataset.of_cache(cache)


def test_refuses_a_folder_that_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="cache: not empty and not a cache"):
        prepared(tmp_path, dataset(tmp_path / "d"))
    assert snapshot(tmp_path / "cache") == {"thesis.txt": b"mine"}


def test_faulty_dataset_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    truncate(folder / VIDEO)
    with pytest.raises(ValueError, match=r"file-000\.mp4: .*it is truncated.*; 3 episodes lie in it, 0 to 2$"):
        prepared(tmp_path, folder)
    assert not (tmp_path / "cache").exists()


def test_nan_is_refused(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", (6,))
    path = folder / "data/chunk-000/file-000.parquet"
    actions = np.full((6, 3), np.nan, np.float32)
    pq.write_table(pq.read_table(path).set_column(0, "action", pa.array(actions.tolist())), path)
    with pytest.raises(ValueError, match="episode 0: action: 18 values are missing, NaN or infinite"):
        prepared(tmp_path, folder)


def test_videos_shorter_than_the_window(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clip is left: has 4 frames at 10 Hz, a clip of 5 frames at 10 Hz spans 5"):
        prepared(tmp_path, dataset(tmp_path / "d", (4, 3)))


def test_corrupt_entry(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d")
    cache = prepared(tmp_path, folder)
    path = tmp_path / f"cache/entries/{cache.ids[0]}.safetensors"
    truncate(path, 0.7)
    with pytest.raises(
        ValueError, match=r"d-000000-000000\.safetensors: cache entry is .*corrupt.*delete it and run prep"
    ):
        cache.tensors(0)
    with pytest.raises(ValueError, match=r"d-000000-000000\.safetensors: cache entry is .*corrupt"):
        prepared(tmp_path, folder)
    path.unlink()
    assert prepared(tmp_path, folder).tensors(0)["latent"].shape == (1, 2, 2, 2, 4)


def test_captions_that_may_be_cut_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = [episode(6, text="one two three four five six seven"), episode(6, text="one")]
    prepared(tmp_path, write_dataset(tmp_path / "d", recorded, fps_hz=10))
    assert "1 captions fill all 6 rows of the text encoder; words beyond are not read" in capsys.readouterr().err
