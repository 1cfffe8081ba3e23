"""Layout "videos" and the convert stage."""

import logging
from pathlib import Path

import pytest

from tests.data.recordings import (
    clips_folder,
    numbered_video,
    numbers_of,
    snapshot,
    truncate,
    write_variable_rate,
)
from worldtune.dataset import Dataset
from worldtune.stages.convert import convert
from worldtune.video.read import read_video
from worldtune.video.write import write_video


def test_clips_and_captions(tmp_path: Path) -> None:
    source = clips_folder(tmp_path / "source", num_videos=3)
    read = Dataset.open(convert(source, tmp_path / "d", "videos"))
    assert [e.texts for e in read.episodes] == [("caption 0",), ("caption 1",), ("caption 2",)]
    assert [e.length for e in read.episodes] == [12, 12, 12]
    assert [e.facts["name"] for e in read.episodes] == ["clip_0.mp4", "clip_1.mp4", "clip_2.mp4"]
    assert numbers_of(read.frames(2, "main", [0, 11])) == [2, 13]


def test_streams_are_not_encoded_again(tmp_path: Path) -> None:
    source = clips_folder(tmp_path / "source")
    read = Dataset.open(convert(source, tmp_path / "d", "videos"))
    copied = read_video(read.episodes[1].videos["main"].path)
    assert (copied == read_video(source / "videos/clip_1.mp4")).all()


def test_variable_rate_becomes_constant(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = clips_folder(tmp_path / "source", num_videos=1)
    times_ms = [0, 90, 220, 250, 300, 330, 490, 600, 720, 900, 1000]
    write_variable_rate(source / "videos/clip_0.mp4", numbered_video(11), times_ms)
    with caplog.at_level(logging.WARNING):
        read = Dataset.open(convert(source, tmp_path / "d", "videos"))
    assert "1 of 1 videos have a variable frame rate and are resampled to a constant 10 Hz" in caplog.text
    assert read.fps_hz == 10
    assert numbers_of(read.frames(0, "main", range(11))) == [0, 1, 2, 4, 5, 6, 7, 8, 8, 9, 10]


def test_mixed_rates_and_sizes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = clips_folder(tmp_path / "source", num_videos=3)
    write_video(source / "videos/clip_1.mp4", numbered_video(24), 20.0)
    write_video(source / "videos/clip_2.mp4", numbered_video(12, 64, 64), 10.0)
    with caplog.at_level(logging.WARNING):
        read = Dataset.open(convert(source, tmp_path / "d", "videos"))
    assert "1 of 3 videos are faster than the slowest one and are resampled to its 10 Hz" in caplog.text
    assert "1 of 3 videos differ from the most frequent size and are scaled and cut to 32x48 px" in caplog.text
    assert [e.length for e in read.episodes] == [12, 12, 12]
    assert numbers_of(read.frames(1, "main", range(12))) == list(range(0, 24, 2))
    assert read.frames(2, "main", [0]).shape == (1, 32, 48, 3)


def test_nearly_equal_rates_keep_every_frame(tmp_path: Path) -> None:
    source = clips_folder(tmp_path / "source", num_videos=1)
    write_video(source / "videos/clip_0.mp4", numbered_video(20), 30.0)
    write_video(source / "videos/clip_1.mp4", numbered_video(20), 30000 / 1001)
    (source / "metas/clip_1.txt").write_text("b")
    read = Dataset.open(convert(source, tmp_path / "d", "videos"))
    assert [e.length for e in read.episodes] == [20, 20]
    assert numbers_of(read.frames(0, "main", range(20))) == list(range(20))


def test_missing_caption(tmp_path: Path) -> None:
    source = clips_folder(tmp_path / "source")
    (source / "metas/clip_1.txt").unlink()
    with pytest.raises(ValueError, match=r"metas/clip_1\.txt: no caption for clip_1\.mp4; .*give --allow-missing-cap"):
        convert(source, tmp_path / "d", "videos")
    assert not (tmp_path / "d").exists()
    read = Dataset.open(convert(source, tmp_path / "d", "videos", allow_missing_captions=True))
    assert [e.texts for e in read.episodes] == [("caption 0",), ("",)]


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        (b"  \n", r"metas/clip_1\.txt: the caption of clip_1\.mp4 is empty"),
        (b"\xff\xfe", r"metas/clip_1\.txt: the caption is not UTF-8 text"),
        (b"x" * 10000, r"metas/clip_1\.txt: the caption has 10000 characters, at most 4000 are allowed"),
    ],
)
def test_bad_caption(tmp_path: Path, caption: bytes, words: str) -> None:
    source = clips_folder(tmp_path / "source")
    (source / "metas/clip_1.txt").write_bytes(caption)
    with pytest.raises(ValueError, match=words):
        convert(source, tmp_path / "d", "videos")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(("share", "words"), [(0.0, "the video file is empty"), (0.6, "it is truncated")])
def test_damaged_video(tmp_path: Path, share: float, words: str) -> None:
    source = clips_folder(tmp_path / "source")
    truncate(source / "videos/clip_1.mp4", share)
    with pytest.raises(ValueError, match=rf"clip_1\.mp4: .*{words}"):
        convert(source, tmp_path / "d", "videos")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_else_lies_in_the_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = clips_folder(tmp_path / "source", num_videos=2)
    (source / "videos/clip_1.mp4").rename(source / "videos/clip_1.MP4")
    (source / "videos/._clip_1.MP4").write_bytes(b"left by a file browser")
    (source / "videos/other.mov").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        read = Dataset.open(convert(source, tmp_path / "d", "videos"))
    assert [e.facts["name"] for e in read.episodes] == ["clip_0.mp4", "clip_1.MP4"]
    assert "1 of 3 files" in caplog.text
    assert "other.mov" in caplog.text


def test_caption_with_byte_order_mark(tmp_path: Path) -> None:
    source = clips_folder(tmp_path / "source", num_videos=1)
    (source / "metas/clip_0.txt").write_bytes("\ufeffa gr\u00fcn car\r\n".encode())
    assert Dataset.open(convert(source, tmp_path / "d", "videos")).episodes[0].texts == ("a gr\u00fcn car",)


def test_no_videos(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"videos: no mp4 files; the layout is SOURCE/videos/\*\.mp4"):
        convert(tmp_path, tmp_path / "d", "videos")


def test_existing_destination_is_kept(tmp_path: Path) -> None:
    source = clips_folder(tmp_path / "source", num_videos=1)
    convert(source, tmp_path / "d", "videos")
    before = snapshot(tmp_path / "d")
    with pytest.raises(ValueError, match="d: exists already"):
        convert(source, tmp_path / "d", "videos")
    assert snapshot(tmp_path / "d") == before


def test_unknown_layout_and_absent_source(tmp_path: Path) -> None:
    clips_folder(tmp_path / "source", num_videos=1)
    with pytest.raises(ValueError, match="did you mean 'videos'"):
        convert(tmp_path / "source", tmp_path / "d", "video")
    with pytest.raises(ValueError, match="absent: no such folder"):
        convert(tmp_path / "absent", tmp_path / "d", "videos")
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="clip.mp4: a file, wanted the folder"):
        convert(tmp_path / "clip.mp4", tmp_path / "d", "videos")
