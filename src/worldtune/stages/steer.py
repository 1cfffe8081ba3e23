"""`worldtune steer` and `worldtune rollout`: a finished run as a session, its start clips, and what is kept of it.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldtune.contract import rooms
from worldtune.contract.cache import Cache
from worldtune.contract.files import write_whole
from worldtune.contract.nouns import Batch, Clip
from worldtune.contract.steering import Axis, Follows
from worldtune.dataset import Dataset, Episode, Window, write_dataset
from worldtune.report.film import tiled
from worldtune.run import Run, load_run, sampler_with
from worldtune.stages.base import find_base
from worldtune.stages.world import WorldModel, load_world
from worldtune.steering.commands import write_commands
from worldtune.steering.session import Session
from worldtune.steering.signals import Driven
from worldtune.steering.state import FRAMES, TOKENS, Observation, Pace
from worldtune.steering.take import CAMERA_PREFIX, Take, newest
from worldtune.training.precision import autocast, resolved_precision
from worldtune.video.resample import frame_indices, resize
from worldtune.video.write import write_video

MAX_RECORDED = 64
"""Training episodes that the ranges of axes are read from."""
STEERING = "steering."
"""Features of saved sessions begin so: the commands, by axis."""
CRF = 12


@dataclass(frozen=True, kw_only=True)
class Start:
    """A clip of the dataset that a session may start from."""

    id: str
    split: str
    texts: tuple[str, ...]
    index: int
    """In the cache."""


class Steered:
    """A run that is ready to be driven: its session, and the clips it may start from."""

    def __init__(self, run: Run, cache: Cache, dataset: Dataset, session: Session) -> None:
        self.run, self.cache, self.session = run, cache, session
        self._dataset, self._window = dataset, Window(**cache.header.window)

    @property
    def name(self) -> str:
        """What is driven, in words."""
        return f"{self.run.task}, {self.run.base}"

    @property
    def has_text(self) -> bool:
        """Whether the run listens to words."""
        return "text" in self.run.controls

    def starts(self, most: int | None = None) -> list[Start]:
        """Held-out clips first."""
        infos = [(self.cache.info(index), index) for index in range(len(self.cache))]
        infos.sort(key=lambda pair: pair[0]["split"] == "train")
        return [
            Start(id=info["id"], split=info["split"], texts=tuple(info["texts"]), index=index)
            for info, index in infos[:most]
        ]

    def clip(self, start: Start) -> Clip:
        """The recorded clip, at the size and rate of the run."""
        info = self.cache.info(start.index)
        return self._dataset.read_clip(info["episode"], info["start"], self._window)

    def recording(self, start: Start) -> Clip:
        """From the first frame of a clip to the end of its episode."""
        info, rate_hz = self.cache.info(start.index), self.session.fps_hz
        left = self._dataset.episodes[info["episode"]].length - 1 - info["start"]
        frames = 1 + int(left * rate_hz / self._dataset.fps_hz + 1e-6)
        whole = Window(**{**self.cache.header.window, "num_frames": frames})
        return self._dataset.read_clip(info["episode"], info["start"], whole)

    def observation(self, start: Start, latents: int | None = None) -> Observation:
        """The first frames of a clip, so many latent frames of them; None: as many as a window starts from."""
        clip = self.clip(start)
        frames = 1 + ((latents or self.session.pace.context) - 1) * self.session.grid.frames_per_latent
        return Observation(
            frames_VTHWC=clip.video_VTHWC[:, :frames], features=_first(clip.features, frames), texts=clip.texts
        )

    def follow(self, path: Path, start: Start) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The way in a file, from the newest frame that a start gives on: features, and commands by axis.

        Where two controls make the same features, the one that is steered reads the file. ValueError when no control of
        the run reads ways from files, or the file is faulty.
        """
        rows = newest(dict(self.observation(start).features))
        parts = {name: _steering(name) for name in self.run.controls}
        for name, led in _leaders(parts).items():
            if isinstance(part := parts[name], Follows):
                try:
                    return part.follow(path, rows, self.session.fps_hz)
                except ValueError as error:
                    told = f". In this run the way is that of {name}, and {' and '.join(led)} goes along" if led else ""
                    raise ValueError(f"{error}{told}") from None
        known = [name for name in rooms.names("controls") if isinstance(_steering(name), Follows)]
        has = ", ".join(self.run.controls)
        raise ValueError(f"--path {path}: wanted a run with the control {' or '.join(known)}, this one has {has}")

    def from_image(self, image_HWC: np.ndarray, like: Start, text: str | None = None) -> Observation:
        """A picture of one's own, uint8, with the lens and the signals of a recorded clip's first frame.

        ValueError for a run of several cameras.
        """
        if len(self.session.views) > 1:
            cameras = ", ".join(self.session.views)
            raise ValueError(f"this run has {len(self.session.views)} cameras ({cameras}): start it from a clip")
        clip = self.clip(like)
        fitted_THWC, _ = resize(image_HWC[None], self._window.height_px, self._window.width_px, "crop")
        texts = clip.texts if text is None else (text,)
        return Observation(frames_VTHWC=fitted_THWC[None], features=_first(clip.features, 1), texts=texts)

    def save_dataset(self, take: Take, folder: Path) -> Path:
        """A take as a LeRobot dataset of one episode, which `check` and `prepare` accept. Returns the folder."""
        episode = Episode(
            name="steered",
            videos=dict(zip(self.session.views, take.frames_VTHWC, strict=True)),
            fps_hz=self.session.fps_hz,
            texts=take.texts,
            features={
                **{
                    name: value.astype(np.float32) if value.dtype.kind == "f" else value
                    for name, value in take.features.items()
                },
                **{f"{STEERING}{name}": values_T.astype(np.float32) for name, values_T in take.commands.items()},
            },
            facts={"seed": self.session.seed, "base": self.run.base, "task": self.run.task},
        )
        return write_dataset(folder, [episode], fps_hz=self.session.fps_hz, crf=CRF, pixel_format="yuv444p")

    def save(self, take: Take, folder: Path) -> Path:
        """clip.mp4 with all views, controls.csv for `worldtune rollout`, and dataset/, a LeRobot dataset."""
        with write_whole(folder) as temporary:
            temporary.mkdir()
            self.save_dataset(take, temporary / "dataset")
            write_video(temporary / "clip.mp4", even(tiled(take.frames_VTHWC)), self.session.fps_hz, crf=CRF)
            write_commands(temporary / "controls.csv", {name: row[1:] for name, row in take.commands.items()})
        return folder


def open_run(
    folder: Path,
    *,
    data: Path | None = None,
    weights: str = "ema",
    seed: int = 0,
    pace: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Steered:
    """Load a finished run for driving.

    data: the cache with start clips; None: the one the run was trained on. pace: fields of `Pace` that are to differ.
    assignments: sampler settings, "steps=2". Raises ValueError when the run is not finished, or its cache or dataset is
    gone or has changed.
    """
    run = load_run(folder)
    cache = Cache.open(Path(run.data) if data is None else data)
    header = cache.header
    dataset = Dataset.of_cache(cache)
    sampler = sampler_with(run, assignments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = find_base(run.base, run.codec_path, run.text_encoder_path)
    codec = base.codec()
    codec.network.to(device)
    world = load_world(folder, cache, weights).to(device)
    session = Session(
        sample=partial(_sample, world, sampler, device),
        codec=codec,
        text_encoder=base.text_encoder(),
        controls=_driven(run, dataset, Window(**header.window)),
        grid=header.grid,
        views=dataset.views,
        fps_hz=Window(**header.window).rate_hz(dataset.fps_hz),
        pace=Pace(**{"window": header.grid.frames, "carry": TOKENS if codec.num_codes else FRAMES, **(pace or {})}),
        seed=seed,
        device=device,
    )
    return Steered(run, cache, dataset, session)


def _sample(
    world: WorldModel, sampler: Any, device: torch.device, batch: Batch, generators: Sequence[torch.Generator]
) -> Tensor:
    with autocast(resolved_precision(world.run.loop.precision, device), device):
        return world.sample(batch, generators, sampler)


def _driven(run: Run, dataset: Dataset, window: Window) -> list[Driven]:
    """Controls of a run with their axes. Where two make the same features, the one that makes more is steered."""
    parts = {name: _steering(name) for name in run.controls}
    leaders = _leaders(parts)
    recorded = _recorded(dataset, window) if leaders else []
    driven = []
    for name in run.controls:
        room, part = rooms.load("controls", name), parts[name]
        axes: tuple[Axis, ...] = part.axes(recorded, window.rate_hz(dataset.fps_hz)) if name in leaders else ()
        driven.append(
            Driven(
                name=name,
                align=room.align,
                fields=tuple(room.FIELDS),
                steering=part if axes else None,
                axes=axes,
            )
        )
    return driven


def _leaders(parts: Mapping[str, Any]) -> dict[str, list[str]]:
    """Controls that are steered, each with those that go along because they make a part of its features."""
    made = {name: set(part.COMMANDS) for name, part in parts.items() if part is not None}
    return {
        name: [other for other in made if made[other] < mine]
        for name, mine in made.items()
        if not any(mine < theirs for theirs in made.values())
    }


def _steering(control: str) -> Any:
    """The room's steering module; None when there is none."""
    name = f"{rooms.load('controls', control).__name__}.steering"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _recorded(dataset: Dataset, window: Window) -> list[dict[str, np.ndarray]]:
    """Features of training episodes at the frame rate of clips."""
    train = [episode for episode in dataset.episodes if episode.split == "train"] or dataset.episodes
    parts = []
    for episode in train[:MAX_RECORDED]:
        rate_hz = window.rate_hz(dataset.fps_hz)
        frames = int((episode.length - 1) * rate_hz / dataset.fps_hz + 1e-6) + 1
        indices = frame_indices(0, frames, dataset.fps_hz, rate_hz)
        signals = dataset.signals(episode.index)
        parts.append(
            {
                name: value[:, indices] if name.startswith(CAMERA_PREFIX) else value[indices]
                for name, value in signals.items()
            }
        )
    return parts


def _first(features: Mapping[str, np.ndarray], frames: int) -> dict[str, np.ndarray]:
    return {
        name: value[:, :frames] if name.startswith(CAMERA_PREFIX) else value[:frames]
        for name, value in features.items()
    }


def even(video_THWC: np.ndarray) -> np.ndarray:
    """The video with a repeated last row or column where its size is odd, which h264 cannot hold."""
    _, height, width, _ = video_THWC.shape
    return np.pad(video_THWC, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
