"""Video files: what is written is read, windows decode by seek, damaged files are named."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from tests.data.recordings import numbered_video, numbers_of, truncate, write_variable_rate
from worldtune.video.read import frame_times_s, probe, read_frames, read_video
from worldtune.video.write import VideoWriter, copy_stream, transcode, write_video


@pytest.mark.parametrize("fps_hz", [3.0, 10.0, 30000 / 1001, 12.5])
def test_probe_finds_what_was_written(tmp_path: Path, fps_hz: float) -> None:
    write_video(tmp_path / "a.mp4", numbered_video(17), fps_hz)
    info = probe(tmp_path / "a.mp4")
    assert (info.num_frames, info.height_px, info.width_px, info.codec) == (17, 32, 48, "h264")
    assert info.fps_hz == pytest.approx(fps_hz, rel=1e-6)
    assert info.duration_s == pytest.approx(17 / fps_hz, rel=1e-4)
    assert info.is_constant_rate


def test_window_by_seek_equals_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", video, 10.0, crf=4, pixel_format="yuv444p")
    whole = read_video(tmp_path / "a.mp4")
    assert np.abs(whole.astype(int) - video).mean() < 4
    for start in (0, 1, 11, 12, 13, 25):
        window = read_frames(tmp_path / "a.mp4", np.arange(start, start + 5) / 10, tolerance_s=0.01)
        assert np.array_equal(window, whole[start : start + 5])


def test_nearest_frame_is_taken(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_video(20), 10.0)
    frames = read_frames(tmp_path / "a.mp4", [0.0, 0.04, 0.06, 0.98, 1.0, 1.0, 1.93], tolerance_s=0.051)
    assert numbers_of(frames) == [0, 0, 1, 10, 10, 10, 19]


def test_clips_appended_to_one_file_start_where_stated(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", fps_hz=10.0, height_px=32, width_px=48)
    starts = [writer.append(numbered_video(7, first=first)) for first in (0, 10, 20)]
    writer.close()
    assert starts == pytest.approx([0.0, 0.7, 1.4])
    assert numbers_of(read_frames(tmp_path / "a.mp4", starts, tolerance_s=0.01)) == [0, 10, 20]


def test_variable_rate_is_seen_and_times_are_kept(tmp_path: Path) -> None:
    times_ms = [0, 30, 120, 150, 400, 433, 466]
    write_variable_rate(tmp_path / "a.mp4", numbered_video(7), times_ms)
    assert not probe(tmp_path / "a.mp4").is_constant_rate
    assert frame_times_s(tmp_path / "a.mp4") == pytest.approx(np.array(times_ms) / 1000, abs=1e-4)
    transcode(
        tmp_path / "a.mp4",
        tmp_path / "b.mp4",
        frame_times_s(tmp_path / "a.mp4")[[0, 2, 4]],
        fps_hz=5.0,
        height_px=16,
        width_px=24,
    )
    info = probe(tmp_path / "b.mp4")
    assert (info.num_frames, info.fps_hz, info.is_constant_rate, info.width_px) == (3, 5.0, True, 24)
    assert numbers_of(read_video(tmp_path / "b.mp4")) == [0, 2, 4]


def test_stream_is_copied_bit_for_bit(tmp_path: Path) -> None:
    video = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", video, 10.0)
    copy_stream(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert np.array_equal(read_video(tmp_path / "a.mp4"), read_video(tmp_path / "b.mp4"))


def test_other_containers_and_codecs_are_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for pixels_HWC in numbered_video(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HWC), format="rgb24")))
        container.mux(stream.encode(None))
    assert probe(tmp_path / "a.avi").fps_hz == 5.0
    assert numbers_of(read_video(tmp_path / "a.avi")) == list(range(6))


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ValueError, match=r"a\.mp4: the video file is empty"):
        probe(tmp_path / "a.mp4")


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.mp4: no such video file"):
        probe(tmp_path / "a.mp4")


def test_no_video_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("this is text " * 100)
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as a video"):
        probe(tmp_path / "a.mp4")


def test_truncated_file(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_video(20), 10.0)
    truncate(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as a video; it is truncated"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_truncated_file_with_the_index_in_front(tmp_path: Path, share: float) -> None:
    video = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for pixels_HWC in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    assert probe(tmp_path / "a.mp4").num_frames == 20
    truncate(tmp_path / "a.mp4", share)
    with pytest.raises(ValueError, match=r"a\.mp4: the video is (truncated|damaged)"):
        probe(tmp_path / "a.mp4")


def test_too_short_file(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_video(5), 10.0)
    with pytest.raises(ValueError, match=r"a\.mp4: too short: a frame is wanted at 0\.600 s, the nearest is at 0\.400"):
        read_frames(tmp_path / "a.mp4", [0.3, 0.6], tolerance_s=0.05)


def test_odd_sizes_need_full_colour_resolution(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="yuv420p needs even sizes, got 31x48"):
        write_video(tmp_path / "a.mp4", numbered_video(3, height_px=31), 10.0)
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / "a.mp4", numbered_video(3, height_px=31), 10.0, pixel_format="yuv444p")
    assert probe(tmp_path / "a.mp4").height_px == 31


def test_a_turned_video_is_shown_as_players_show_it(tmp_path: Path) -> None:
    """A phone held upright stores lying frames and a matrix, [[0, 1], [-1, 0]]: a quarter turn clockwise."""
    path = tmp_path / "phone.mp4"
    video_THWC = np.zeros((4, 32, 48, 3), np.uint8)
    video_THWC[:, :16, :24] = 255
    write_video(path, video_THWC, 10.0)
    data = path.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = data.index(upright, data.index(b"tkhd"))
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30)
    path.write_bytes(data[:place] + turned + data[place + len(turned) :])
    info = probe(path)
    assert (info.height_px, info.width_px) == (48, 32)
    shown_HWC = read_video(path)[0]
    assert shown_HWC[:24, 16:].min() > 200
    assert shown_HWC[:, :16].max() < 50
    assert shown_HWC[24:].max() < 50
