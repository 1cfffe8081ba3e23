"""What geometric measures say of real clips that were spoilt on purpose: `python -m recipes.spoilt`.

A measure of agreement must rank the untouched clip first, and a measure of obedience the true command. Both are settled
here, on real clips only, before any model is judged.

Shape legend: V views, T frames, H W rows and columns, C colours.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.nouns import Clip
from worldtune.dataset import Dataset, Window
from worldtune.metrics import crossview, epipolar

Video = NDArray[np.uint8]
GAP = 4
"""Pixel frames of a latent frame of the nano codecs."""
FRAMES, SIZE_PX = 17, 64
LENS, POSES = "camera.intrinsics", "camera.world_from_camera"


def clips_of(folder: Path, split: str, most: int) -> Iterator[Clip]:
    """The first clip of each of the first episodes of a split."""
    dataset = Dataset.open(folder)
    window = Window(num_frames=FRAMES, height_px=SIZE_PX, width_px=SIZE_PX)
    chosen = [episode.index for episode in dataset.episodes if episode.split == split][:most]
    for index in chosen:
        yield dataset.read_clip(index, 0, window)


def smoothed(video_VTHWC: Video, axes: tuple[int, ...], sigma: float) -> Video:
    """Gaussian along these axes; the border is repeated."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    result = video_VTHWC.astype(np.float32)
    for axis in axes:
        pad = [(reach, reach) if place == axis else (0, 0) for place in range(result.ndim)]
        padded, length = np.pad(result, pad, mode="edge"), result.shape[axis]
        parts = (
            weight * padded.take(range(at, at + length), axis) for at, weight in enumerate(weights / weights.sum())
        )
        result = sum(parts, np.zeros_like(result))
    return result.round().clip(0, 255).astype(np.uint8)


def still(video_VTHWC: Video) -> Video:
    """The first frame, held."""
    return np.repeat(video_VTHWC[:, :1], video_VTHWC.shape[1], axis=1)


def late(video_VTHWC: Video, frames: int) -> Video:
    """All cameras but the first come so many frames late."""
    held = np.concatenate([np.repeat(video_VTHWC[:, :1], frames, axis=1), video_VTHWC[:, :-frames]], axis=1)
    return np.concatenate([video_VTHWC[:1], held[1:]])


def noisy(video_VTHWC: Video) -> Video:
    """Noise of 8 levels."""
    noise = np.random.default_rng(0).normal(0, 8, video_VTHWC.shape)
    return (video_VTHWC + noise).round().clip(0, 255).astype(np.uint8)


SPOILT: dict[str, Callable[[Video], Video]] = {
    "untouched": lambda video: video,
    "blurred, sigma 0.5 px": lambda video: smoothed(video, (2, 3), 0.5),
    "blurred, sigma 1 px": lambda video: smoothed(video, (2, 3), 1.0),
    "blurred, sigma 2 px": lambda video: smoothed(video, (2, 3), 2.0),
    "blurred in time, sigma 2 frames": lambda video: smoothed(video, (1,), 2.0),
    "half faded into the first frame": lambda video: ((video.astype(np.uint16) + still(video)) // 2).astype(np.uint8),
    "still": still,
    "noise of 8 levels": noisy,
    "side cameras 1 frame late": lambda video: late(video, 1),
    "side cameras 2 frames late": lambda video: late(video, 2),
    "side cameras 4 frames late": lambda video: late(video, 4),
    "side cameras backwards": lambda video: np.concatenate([video[:1], video[1:, ::-1]]),
    "left and right exchanged": lambda video: video[[0, 2, 1]],
    "front and left exchanged": lambda video: video[[1, 0, 2]],
}


def rig(clip: Clip) -> crossview.Rig:
    """Its cameras."""
    return crossview.rig_of(clip.features[LENS], clip.features[POSES], SIZE_PX, SIZE_PX)


def cross_view_table(street: Path, most: int, most_training: int = 40) -> dict[str, dict[str, float]]:
    """Spoilt in this way -> mean of every measure over the held-out clips."""
    training = ((crossview.small(clip.video_VTHWC), rig(clip)) for clip in clips_of(street, "train", most_training))
    ranges = crossview.typical_ranges(training, GAP)
    clips = list(clips_of(street, "val", most))

    def scores(clip: Clip, video: Video) -> dict[str, float]:
        pictures = crossview.small(video), crossview.small(clip.video_VTHWC)
        return crossview.cross_view_scores(*pictures, crossview.overlaps(rig(clip), ranges), GAP, 1)

    def foreign(place: int) -> Video:
        others = [clips[(place + step) % len(clips)].video_VTHWC[step] for step in (1, 2)]
        return np.stack([clips[place].video_VTHWC[0], *others])

    found = {name: [scores(clip, spoil(clip.video_VTHWC)) for clip in clips] for name, spoil in SPOILT.items()}
    found["side cameras of other clips"] = [scores(clip, foreign(place)) for place, clip in enumerate(clips)]
    return {name: {key: float(np.mean([one[key] for one in rows])) for key in rows[0]} for name, rows in found.items()}


def epipolar_table(rooms: Path, most: int) -> dict[str, dict[str, float]]:
    """Commanded in this way -> mean of every measure over the held-out clips."""
    clips = list(clips_of(rooms, "val", most))
    mirrored = np.diag([1.0, -1.0, -1.0, 1.0])

    def scores(video_VTHWC: Video, clip: Clip, poses_T44: np.ndarray) -> dict[str, float]:
        found = epipolar.consistency(video_VTHWC[0], clip.features[LENS][0], poses_T44, gap=GAP)
        return epipolar.epipolar_scores([found])

    rows: dict[str, list[dict[str, float]]] = {}
    for place, clip in enumerate(clips):
        video, poses = clip.video_VTHWC, clip.features[POSES][0].astype(np.float64)
        other = clips[(place + 1) % len(clips)].features[POSES][0]
        for name, pictures, commanded in (
            ("true poses", video, poses),
            ("blurred, sigma 1 px", smoothed(video, (2, 3), 1.0), poses),
            ("still", still(video), poses),
            ("poses of another clip", video, other),
            ("inverted poses", video, np.linalg.inv(poses)),
            ("OpenGL axes", video, poses @ mirrored),
        ):
            rows.setdefault(name, []).append(scores(pictures, clip, commanded))
    return {name: {key: float(np.nanmean([one[key] for one in of])) for key in of[0]} for name, of in rows.items()}


def printed(table: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    names = list(next(iter(table.values())))
    lines = ["| clip | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {row} | " + " | ".join(f"{values[name]:.2f}" for name in names) + " |" for row, values in table.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--street", type=Path, default=Path("samples/street"), help="three overlapping cameras")
    parser.add_argument("--rooms", type=Path, default=Path("samples/rooms"), help="a moving camera")
    parser.add_argument("--clips", type=int, default=16, help="held-out clips")
    args = parser.parse_args()
    print(printed(cross_view_table(args.street, args.clips)), end="\n\n")
    print(printed(epipolar_table(args.rooms, args.clips)))


if __name__ == "__main__":
    main()
