"""Probes for evaluate: train one per control on the real training clips of the cache, once, and read made clips.

Shape legend: N clips, V views, T frames (pixel or latent, as said), H W rows and columns, C channels, D numbers.
"""

import hashlib
import importlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from worldtune.contract.nouns import Measure
from worldtune.contract.protocols import Obedience
from worldtune.metrics.probe import VISITS, Probe, Schooling, load_probe, pictures, save_probe, train_probe
from worldtune.stages.counter import Counter
from worldtune.stages.made_clips import ClipInfo
from worldtune.stages.source import Source

MAX_CLIPS = 2000
"""Training clips that a probe sees, spread evenly over the split."""
SEED = 0
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads one control from video and compares it with what was commanded."""

    control: str
    room: Obedience
    probe: Probe
    schooling: Schooling
    deviation_D: NDArray[np.float64]
    """Over the training clips; NaN where a number never varies."""
    commanded: Mapping[str, NDArray[np.float32]]
    """Clip id -> [T,D], for the judged clips and those whose control the shuffled column was given."""
    choices: tuple[NDArray[np.float32], ...]
    """For a room that names: the different commands [K,D] of all these clips; else nothing."""
    is_commanded: ClassVar[bool] = True

    @property
    def measures(self) -> dict[str, Measure]:
        """What `errors` returns."""
        return self.room.MEASURES

    def errors(
        self, made_VTHWC: NDArray[np.uint8], real_VTHWC: NDArray[np.uint8], clip: ClipInfo, commanded_by: str
    ) -> dict[str, float | None]:
        """How far a clip is from the control of the clip `commanded_by`; None where it is not defined."""
        unit: Any = self.deviation_D if self.room.READING.in_deviations else 1
        read_TD, commanded_TD = self.probe.read(made_VTHWC) / unit, self.commanded[commanded_by] / unit
        found = self.room.errors(read_TD, commanded_TD, clip.num_observed_latents, *self.choices)
        assert found.keys() <= self.measures.keys(), f"{self.control}: errors without a meaning"
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    def to_json(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"measures": list(self.measures), "is_commanded": self.is_commanded, **asdict(self.schooling)}


def readers(
    controls: Sequence[str], source: Source, clips: Sequence[ClipInfo], console: Console
) -> tuple[list[Reader], dict[str, str]]:
    """A reader for every control that offers obedience; and for those that cannot be read, why."""
    found, skipped = [], {}
    for name in controls:
        if (room := room_of(name)) is None:
            continue
        try:
            found.append(_reader(name, room, source, clips, console))
        except ValueError as error:
            skipped[name] = str(error)
    return found, skipped


def room_of(control: str) -> Obedience | None:
    """How obedience to a control is read, for rooms that offer it."""
    package = f"worldtune.controls.{control.replace('-', '_')}"
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(f"{package}.obedience") is None:
        return None
    return cast(Obedience, importlib.import_module(f"{package}.obedience"))


def _targets(source: Source, index: int, control: str, room: Obedience) -> NDArray[np.float32]:
    """What a clip shows by its own recording, [T,D]."""
    tensors = source.cache.tensors(index, f"{control}/")
    if not tensors:
        raise ValueError(f"{source.cache.folder}: has no {control} control")
    found = room.targets({name.split("/", 1)[1]: tensor.numpy() for name, tensor in tensors.items()})
    return found if found.ndim == 2 else np.tile(found, (source.cache.header.grid.frames, 1))


def _reader(control: str, room: Obedience, source: Source, clips: Sequence[ClipInfo], console: Console) -> Reader:
    training = source.training(MAX_CLIPS)
    targets_NTD = np.stack([_targets(source, index, control, room) for index in training])
    key = _key(source, targets_NTD)
    folder = source.cache.folder / f"probe-{control}"
    kept = load_probe(folder, key)
    if kept is None:
        kept = _trained(control, source, training, targets_NTD, console)
        save_probe(*kept, key, folder)
    probe, schooling = kept
    moving_ND = targets_NTD[:, 1:].reshape(-1, targets_NTD.shape[-1]).astype(np.float64)
    deviation_D = moving_ND.std(0)
    constant_D = deviation_D <= 1e-6 * np.maximum(1, np.abs(moving_ND.mean(0)))
    places = source.places()
    wanted = {clip.id for clip in clips} | {clip.foreign_id for clip in clips if clip.foreign_id is not None}
    commanded = {clip_id: _targets(source, places[clip_id], control, room) for clip_id in wanted}
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


def _key(source: Source, targets_NTD: NDArray[np.float32]) -> str:
    """Everything that a probe was trained on: another key is another probe."""
    header = source.cache.header
    words = f"{VERSION} {SEED} {VISITS} {header.dataset_identity} {header.window} {targets_NTD.shape}"
    return hashlib.sha256(words.encode() + targets_NTD.tobytes()).hexdigest()


def _trained(
    control: str, source: Source, training: Sequence[int], targets_NTD: NDArray[np.float32], console: Console
) -> tuple[Probe, Schooling]:
    with Counter(f"reading real clips for the {control} probe", len(training), console) as counter:
        seen = []
        for index in training:
            seen.append(pictures(source.clip(index).video_VTHWC))
            counter.add(1)
    groups = [source.cache.info(index)["episode"] for index in training]
    with Counter(f"training the {control} probe", VISITS, console) as counter:
        return train_probe(
            torch.stack(seen), targets_NTD, groups, SEED, lambda visits: counter.add(visits - counter.done)
        )
