"""Layout "bridge": annotation/{train,val,test}/ID.json with videos/{split}/ID/rgb.mp4, as IRASim and Cosmos have it.

Shape legend: T frames, D numbers per frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from worldtune.contract.files import read_json
from worldtune.dataset import Episode, Source
from worldtune.dataset.actions import relative_actions
from worldtune.dataset.entries import entry, natural_order, not_too_long, numbers, require_rate, splits_of
from worldtune.dataset.video_files import fitted
from worldtune.video.footage import common_size_px
from worldtune.video.read import VideoInfo, probe

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class _Recording:
    annotation: Path
    video: Path
    info: VideoInfo
    text: str
    features: dict[str, np.ndarray]


def read(source: Path, *, allow_missing_captions: bool = False, fps_hz: float | None = None) -> Source:
    """Episodes in the order train, val, test, then of file names, with one camera, `main`: the first of `videos`.

    fps_hz: the rate of the recordings when the videos tell it wrongly (Bridge was recorded at 5 Hz, the released
    videos play at 3). ValueError naming the file and the field that is missing or wrong.
    """
    found = {
        split: sorted((source / "annotation" / split).glob("*.json"), key=lambda path: natural_order(path.stem))
        for split in SPLITS
    }
    if not any(found.values()):
        wanted = "annotation/{train,val,test}/ID.json, videos/{train,val,test}/ID/rgb.mp4"
        raise ValueError(f"{source / 'annotation'}: no json files in train, val or test; the layout is {wanted}")
    recordings = [_recording(source, path, allow_missing_captions) for paths in found.values() for path in paths]
    rate_hz = recordings[0].info.fps_hz if fps_hz is None else require_rate(fps_hz, source)
    for recording in recordings:
        if fps_hz is None and abs(recording.info.fps_hz / rate_hz - 1) > 1e-3:
            got = f"{recording.info.fps_hz:g} Hz, {recordings[0].video} has {rate_hz:g} Hz"
            raise ValueError(f"{recording.video}: has {got}; give the true rate with --fps-hz")
    size_px = common_size_px((recording.info.height_px, recording.info.width_px) for recording in recordings)
    splits = splits_of({split: len(paths) for split, paths in found.items()})
    return Source(
        episodes=_episodes(recordings, rate_hz, size_px), num_episodes=len(recordings), fps_hz=rate_hz, splits=splits
    )


def _recording(source: Path, path: Path, allow_missing_texts: bool) -> _Recording:
    value = read_json(path)
    texts = [] if allow_missing_texts and "texts" not in value else entry(path, value, "texts", list)
    if not allow_missing_texts and not (texts and isinstance(texts[0], str) and texts[0].strip()):
        wanted = "a list that starts with the instruction; write one, or give --allow-missing-captions"
        raise ValueError(f"{path}: texts is {texts!r}, wanted {wanted}")
    text = not_too_long(str(texts[0]).strip() if texts else "", f"{path}: texts")
    videos = entry(path, value, "videos", list)
    if not videos:
        raise ValueError(f"{path}: videos is empty, wanted [{{'video_path': ...}}]")
    video = source / entry(path, videos[0], "video_path", str, "videos[0]")
    info = probe(video)
    features = _features(path, value)
    if (length := len(features["observation.state"])) != info.num_frames:
        raise ValueError(f"{path}: state has {length} rows, {video} has {info.num_frames} frames")
    return _Recording(path, video, info, text, features)


def _features(path: Path, value: dict[str, object]) -> dict[str, np.ndarray]:
    """State with how far the gripper is closed, 0 .. 1, and actions computed from it; the last row stands still."""
    state_TD = numbers(f"{path}: state", entry(path, value, "state", list), (None, None))
    closed_T = numbers(
        f"{path}: continuous_gripper_state", entry(path, value, "continuous_gripper_state", list), (len(state_TD),)
    )
    if len(state_TD) < 2 or state_TD.shape[1] < 6:
        raise ValueError(f"{path}: state has shape {list(state_TD.shape)}, wanted [2 or more, x y z roll pitch yaw]")
    state_TD = np.concatenate([state_TD[:, :6], closed_T[:, None]], axis=1)
    actions_TD = np.zeros((len(state_TD), 7), np.float32)
    actions_TD[:-1] = relative_actions(state_TD)
    actions_TD[-1, 6] = closed_T[-1]
    features = {"observation.state": state_TD.astype(np.float32), "action": actions_TD}
    if "action" in value:
        recorded_TD = numbers(f"{path}: action", value["action"], (len(state_TD) - 1, None)).astype(np.float32)
        features["commanded_action"] = np.concatenate([recorded_TD, np.zeros_like(recorded_TD[:1])])
    return features


def _episodes(recordings: list[_Recording], fps_hz: float, size_px: tuple[int, int]) -> Iterator[Episode]:
    with TemporaryDirectory() as scratch:
        for recording in recordings:
            clip = Path(scratch) / "clip.mp4"
            yield Episode(
                name=f"{recording.annotation.parent.name}/{recording.annotation.name}",
                videos={"main": fitted(recording.video, recording.info, clip, fps_hz=fps_hz, size_px=size_px)},
                fps_hz=fps_hz,
                texts=recording.text,
                features=recording.features,
            )
