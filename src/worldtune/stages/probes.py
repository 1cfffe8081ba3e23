"""Probes for evaluate: train one per control on the real training clips of the cache, once, and read made clips.

Shape legend: N clips, V views, T frames (pixel or latent, as said), H W rows and columns, C channels, D numbers.
"""

import hashlib
import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from worldtune.contract.cache import Cache
from worldtune.contract.files import file_hash
from worldtune.contract.nouns import Measure
from worldtune.contract.protocols import Obedience
from worldtune.dataset import Dataset, Window
from worldtune.metrics.crossview import ViewProbes, load_view_probes, train_view_probes
from worldtune.metrics.probe import VISITS, Probe, Schooling, load_probe, pictures, save_probe, train_probe
from worldtune.stages.counter import Counter
from worldtune.stages.made_clips import ClipInfo, MadeSet
from worldtune.tasks import TASKS

MAX_CLIPS = 2000
"""Training clips that a probe sees, spread evenly over the split."""
SEED = 0
VERSION = 1
Trained = TypeVar("Trained")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads one control from video and compares it with what was commanded."""

    control: str
    room: Obedience
    probe: Probe | ViewProbes
    schooling: Schooling
    deviation_D: NDArray[np.float64]
    """Over the training clips; NaN where a number never varies."""
    commanded: Mapping[str, NDArray[np.float32]]
    """Clip id -> [T,D], for the judged clips and those whose control the shuffled column was given."""
    choices: tuple[NDArray[np.float32], ...]
    """For a room that names: the different commands [K,D] of all these clips; else nothing."""

    @property
    def measures(self) -> dict[str, Measure]:
        """What `errors` returns."""
        return self.room.MEASURES

    def errors(self, video_VTHWC: NDArray[np.uint8], clip: ClipInfo, commanded_by: str) -> dict[str, float | None]:
        """How far a clip is from the control of the clip `commanded_by`; None where it is not defined."""
        unit: Any = self.deviation_D if self.room.READING.in_deviations else 1
        read_TD, commanded_TD = self.probe.read(video_VTHWC) / unit, self.commanded[commanded_by] / unit
        found = self.room.errors(read_TD, commanded_TD, clip.num_observed_latents, *self.choices)
        assert found.keys() <= self.measures.keys(), f"{self.control}: errors without a meaning"
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    def to_json(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"measures": list(self.measures), **asdict(self.schooling)}


def readers(sets: Sequence[MadeSet], console: Console) -> tuple[list[Reader], dict[str, str]]:
    """A reader for every control of the run that offers obedience; and for those without one, why."""
    told = [name for name in sets[0].settings.get("controls", ()) if name != "text" or _instructs(sets[0])]
    rooms = {name: room for name in told if (room := _room(name)) is not None}
    if not rooms:
        return [], {}
    try:
        source = _Source.open(sets[0])
    except ValueError as error:
        return [], dict.fromkeys(rooms, str(error))
    found, skipped = [], {}
    for name, room in rooms.items():
        try:
            found.append(_reader(name, room, source, sets[0].clips, console))
        except ValueError as error:
            skipped[name] = str(error)
    return found, skipped


def _instructs(made: MadeSet) -> bool:
    """Whether texts say what is to happen; a caption of what is seen anyway cannot be disobeyed."""
    task = TASKS.get(made.settings.get("task", ""))
    return task is not None and task.instructs


def _room(control: str) -> Obedience | None:
    package = f"worldtune.controls.{control.replace('-', '_')}"
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(f"{package}.obedience") is None:
        return None
    return cast(Obedience, importlib.import_module(f"{package}.obedience"))


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The cache that the clips were made from, and its dataset."""

    cache: Cache
    dataset: Dataset
    training: list[int]
    """Places of the training clips that probes see."""

    @staticmethod
    def open(made: MadeSet) -> "_Source":
        """ValueError when either is not there or has changed."""
        cache = _cache_of(made)
        every = cache.indices("train")
        step = max(1, math.ceil(len(every) / MAX_CLIPS))
        return _Source(cache=cache, dataset=Dataset.of_cache(cache), training=every[::step])

    def targets(self, index: int, control: str, room: Obedience) -> NDArray[np.float32]:
        """What a clip shows by its own recording, [T,D]."""
        tensors = self.cache.tensors(index, f"{control}/")
        if not tensors:
            raise ValueError(f"{self.cache.folder}: has no {control} control")
        found = room.targets({name.split("/", 1)[1]: tensor.numpy() for name, tensor in tensors.items()})
        return found if found.ndim == 2 else np.tile(found, (self.cache.header.grid.frames, 1))

    def pictures(self, index: int) -> torch.Tensor:
        """The true clip as a probe sees it."""
        info, window = self.cache.info(index), Window(**self.cache.header.window)
        return pictures(self.dataset.read_clip(info["episode"], info["start"], window).video_VTHWC)


def _cache_of(made: MadeSet) -> Cache:
    """The cache of generate.json, or the one that the run was trained on when it is the same."""
    known = [made.circumstances.get("data"), made.circumstances.get("run", {}).get("data")]
    folders = [Path(folder) for folder in dict.fromkeys(known) if folder]
    for folder in folders:
        index = folder / "index.json"
        if index.exists() and file_hash(index) == made.settings.get("clips_hash"):
            return Cache.open(folder)
    names = ", ".join(map(str, folders)) or "none is named in generate.json"
    raise ValueError(f"the cache that the clips were made from is not there ({names})")


def _reader(control: str, room: Obedience, source: _Source, clips: Sequence[ClipInfo], console: Console) -> Reader:
    targets_NTD = np.stack([source.targets(index, control, room) for index in source.training])
    key = _key(source, targets_NTD)
    folder = source.cache.folder / f"probe-{control}"
    probe: Probe | ViewProbes
    if room.READING.per_view:
        num_views = source.cache.header.grid.views
        views = load_view_probes(folder, key, num_views)
        if views is None:
            views = _trained(control, source, targets_NTD, console, train_view_probes, num_views * VISITS)
            views.save(key, folder)
        probe, schooling = views, views.schooling
    else:
        kept = load_probe(folder, key)
        if kept is None:
            kept = _trained(control, source, targets_NTD, console, train_probe, VISITS)
            save_probe(*kept, key, folder)
        probe, schooling = kept
    moving_ND = targets_NTD[:, 1:].reshape(-1, targets_NTD.shape[-1]).astype(np.float64)
    deviation_D = moving_ND.std(0)
    constant_D = deviation_D <= 1e-6 * np.maximum(1, np.abs(moving_ND.mean(0)))
    place = {clip_id: index for index, clip_id in enumerate(source.cache.ids)}
    wanted = {clip.id for clip in clips} | {clip.foreign_id for clip in clips if clip.foreign_id is not None}
    commanded = {clip_id: source.targets(place[clip_id], control, room) for clip_id in wanted}
    every_KD = np.unique(np.stack([one_TD[0] for one_TD in commanded.values()]), axis=0)
    return Reader(
        control=control,
        room=room,
        probe=probe,
        schooling=schooling,
        deviation_D=np.where(constant_D, np.nan, deviation_D),
        commanded=commanded,
        choices=(every_KD,) if room.READING.names else (),
    )


def _key(source: _Source, targets_NTD: NDArray[np.float32]) -> str:
    """Everything that a probe was trained on: another key is another probe."""
    header = source.cache.header
    words = f"{VERSION} {SEED} {VISITS} {header.dataset_identity} {header.window} {targets_NTD.shape}"
    return hashlib.sha256(words.encode() + targets_NTD.tobytes()).hexdigest()


def _trained(
    control: str,
    source: _Source,
    targets_NTD: NDArray[np.float32],
    console: Console,
    train: Callable[..., Trained],
    most_visits: int,
) -> Trained:
    with Counter(f"reading real clips for the {control} probe", len(source.training), console) as counter:
        seen = []
        for index in source.training:
            seen.append(source.pictures(index))
            counter.add(1)
    groups = [source.cache.info(index)["episode"] for index in source.training]
    with Counter(f"training the {control} probe", most_visits, console) as counter:
        return train(torch.stack(seen), targets_NTD, groups, SEED, lambda visits: counter.add(visits - counter.done))
