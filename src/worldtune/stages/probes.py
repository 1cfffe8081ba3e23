"""Probes for evaluate: train one per control on the real training clips of the cache, once, and read made clips.

A look is what a probe sees at once: all views of a clip, or one of them, where each view was told something else. What
is said of a clip as a whole is read from the whole clip at once: from the pixel frames with which latent frames end.

Shape legend: N clips, V views, L looks at a clip (1 or V), T frames (pixel or latent, as said), H W rows and columns,
C channels, D numbers.
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
READABLE = 0.1
"""Share of a number's variance on held-out real clips that a probe must explain to judge that number in made ones.
Where it answers about the mean on real clips, its error is that of any clip, obedient or not."""
SEED = 0
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A probe of one control, and what its answers are counted in."""

    room: Obedience
    probe: Probe
    schooling: Schooling
    deviation_D: NDArray[np.float64]
    """Over the training clips; NaN where a number never varies, and where the probe cannot read it."""
    num_looks: int
    stride: int
    """The probe sees every so manieth pixel frame."""

    @property
    def unit(self) -> Any:
        """What numbers are divided by before they are compared."""
        return self.deviation_D if self.room.READING.in_deviations else 1


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads one control from video and compares it with what was commanded."""

    control: str
    judge: Judge
    commanded: Mapping[str, NDArray[np.float32]]
    """Clip id -> [L,T,D], for the judged clips and those whose control the shuffled column was given."""
    choices: tuple[NDArray[np.float32], ...]
    """For a room that names: the different commands [K,D] of all these clips; else nothing."""
    is_commanded: ClassVar[bool] = True

    @property
    def measures(self) -> dict[str, Measure]:
        """What `errors` returns."""
        return self.judge.room.MEASURES

    def errors(
        self, made_VTHWC: NDArray[np.uint8], real_VTHWC: NDArray[np.uint8], clip: ClipInfo, commanded_by: str
    ) -> dict[str, float | None]:
        """How far a clip is from the control of the clip `commanded_by`, averaged over looks; None is undefined.

        Views that the model was given whole are not looked at.
        """
        unit, room, probe = self.judge.unit, self.judge.room, self.judge.probe
        commanded_LTD = self.commanded[commanded_by][clip.num_given_views :] / unit
        looks = _looks(made_VTHWC, self.judge.num_looks, self.judge.stride)[clip.num_given_views :]
        num_given = 1 if room.READING.by_view else clip.num_observed_latents
        found = [
            room.errors(probe.read(look) / unit, commanded_TD, num_given, *self.choices)
            for look, commanded_TD in zip(looks, commanded_LTD, strict=True)
        ]
        assert found[0].keys() <= self.measures.keys(), f"{self.control}: errors without a meaning"
        values = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def to_json(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"measures": list(self.measures), "is_commanded": self.is_commanded, **asdict(self.judge.schooling)}


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


def _looks(video_VTHWC: NDArray[np.uint8], count: int, stride: int) -> list[NDArray[np.uint8]]:
    """All views at once, or each alone; of every so manieth frame."""
    seen_VTHWC = video_VTHWC[:, ::stride]
    return [seen_VTHWC] if count == 1 else list(seen_VTHWC[:, None])


def _targets(source: Source, index: int, control: str, room: Obedience) -> NDArray[np.float32]:
    """What a clip shows by its own recording, [L,T,D]; T is 2, start and end, of what is said of the whole clip."""
    tensors = source.cache.tensors(index, f"{control}/")
    if not tensors:
        raise ValueError(f"{source.cache.folder}: has no {control} control")
    found = room.targets({name.split("/", 1)[1]: tensor.numpy() for name, tensor in tensors.items()})
    return found[:, None].repeat(min(2, source.cache.header.grid.frames), 1) if room.READING.by_view else found[None]


def judge(control: str, room: Obedience, source: Source, console: Console) -> Judge:
    """The control's probe beside the cache, trained first if need be. ValueError when it reads nothing."""
    training = source.training(MAX_CLIPS)
    targets_NLTD = np.stack([_targets(source, index, control, room) for index in training])
    num_looks = 1 if (targets_NLTD == targets_NLTD[:, :1]).all() else targets_NLTD.shape[1]
    targets_NTD = targets_NLTD[:, :num_looks].reshape(-1, *targets_NLTD.shape[2:])
    stride = source.cache.header.grid.frames_per_latent if room.READING.by_view else 1
    key = _key(source, targets_NTD)
    folder = source.cache.folder / f"probe-{control}"
    kept = load_probe(folder, key)
    if kept is None:
        kept = _trained(control, source, training, num_looks, stride, targets_NTD, console)
        save_probe(*kept, key, folder)
    probe, schooling = kept
    moving_ND = targets_NTD[:, 1:].reshape(-1, targets_NTD.shape[-1]).astype(np.float64)
    deviation_D = moving_ND.std(0)
    constant_D = deviation_D <= 1e-6 * np.maximum(1, np.abs(moving_ND.mean(0)))
    blind_D = constant_D | (np.asarray(schooling.explained_D) < READABLE)
    if room.READING.in_deviations and blind_D.all():
        raise ValueError(f"a probe reads none of the {len(blind_D)} numbers of {control} from real clips")
    deviation_D = np.where(blind_D, np.nan, deviation_D)
    return Judge(
        room=room, probe=probe, schooling=schooling, deviation_D=deviation_D, num_looks=num_looks, stride=stride
    )


def _reader(control: str, room: Obedience, source: Source, clips: Sequence[ClipInfo], console: Console) -> Reader:
    judging = judge(control, room, source, console)
    if judging.num_looks == 1 and any(clip.num_given_views for clip in clips):
        raise ValueError(f"a probe reads {control} from all views at once, and here the first one is given whole")
    places = source.places()
    wanted = {clip.id for clip in clips} | {clip.foreign_id for clip in clips if clip.foreign_id is not None}
    commanded = {clip_id: _targets(source, places[clip_id], control, room)[: judging.num_looks] for clip_id in wanted}
    every_KD = np.unique(np.concatenate([one_LTD[:, 0] for one_LTD in commanded.values()]), axis=0)
    return Reader(
        control=control, judge=judging, commanded=commanded, choices=(every_KD,) if room.READING.names else ()
    )


def _key(source: Source, targets_NTD: NDArray[np.float32]) -> str:
    """Everything that a probe was trained on: another key is another probe."""
    header = source.cache.header
    words = f"{VERSION} {SEED} {VISITS} {header.dataset_identity} {header.window} {targets_NTD.shape}"
    return hashlib.sha256(words.encode() + targets_NTD.tobytes()).hexdigest()


def _trained(
    control: str,
    source: Source,
    training: Sequence[int],
    num_looks: int,
    stride: int,
    targets_NTD: NDArray[np.float32],
    console: Console,
) -> tuple[Probe, Schooling]:
    """targets: those of all looks at a clip one after another."""
    with Counter(f"reading real clips for the {control} probe", len(training), console) as counter:
        seen = []
        for index in training:
            seen += [pictures(look) for look in _looks(source.clip(index).video_VTHWC, num_looks, stride)]
            counter.add(1)
    groups = [source.cache.info(index)["episode"] for index in training for _ in range(num_looks)]
    with Counter(f"training the {control} probe", VISITS, console) as counter:
        return train_probe(
            torch.stack(seen), targets_NTD, groups, SEED, lambda visits: counter.add(visits - counter.done)
        )
