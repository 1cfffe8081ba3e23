"""`worldtune check`: find every fault of a dataset before hours are spent on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from worldtune.contract import rooms
from worldtune.contract.nouns import Field
from worldtune.contract.protocols import Codec
from worldtune.dataset import Dataset, Dropped, Window
from worldtune.dataset.faults import Fault, find_faults
from worldtune.dataset.schema import CAMERA_PREFIX, INFO
from worldtune.report.tables import counted
from worldtune.stages.base import Base

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What `check` found."""

    folder: Path
    faults: tuple[Fault, ...]
    """What must be repaired before `prepare` runs."""
    dropped: tuple[Dropped, ...] = ()
    """Episodes that give no clip, with the reason."""
    num_clips: tuple[tuple[str, int], ...] = ()
    """Clips of each split."""
    notes: tuple[str, ...] = ()
    """What to know; nothing that stops `prepare`."""

    @property
    def ok(self) -> bool:
        """True when there is no fault."""
        return not self.faults

    def show(self, console: Console) -> None:
        """Print faults, dropped episodes, counts and notes."""
        for noun, after, style, items in (
            ("fault", "", "red", [str(fault) for fault in self.faults]),
            ("episode", " without a clip", "yellow", [f"episode {d.episode} {d.reason}" for d in self.dropped]),
        ):
            if items:
                console.print(f"[{style}]{counted(len(items), noun, after)}[/]")
            for item in items[:_SHOWN]:
                console.print(f"  {escape(item)}", highlight=False, soft_wrap=True)
            if len(items) > _SHOWN:
                console.print(f"  ... and {len(items) - _SHOWN} more")
        for note in self.notes:
            console.print(escape(note), highlight=False, soft_wrap=True)
        counts = ", ".join(f"{count} {split}" for split, count in self.num_clips) or "none"
        console.print(f"clips: {counts}; {'no fault' if self.ok else 'repair the faults first'}")


def check(
    dataset: Path,
    controls: Sequence[str],
    base: Base,
    window: Mapping[str, Any],
) -> CheckReport:
    """Check a dataset for the given controls and for the clips that a base wants; window: what differs from its own.

    Raises ValueError only for bad arguments (an unknown control); what is wrong with the dataset is reported.
    """
    return inspect(dataset, controls, Window(**{**base.window, **window}), base.codec())


def inspect(folder: Path, controls: Sequence[str], window: Window, codec: Codec) -> CheckReport:
    """The check itself, for a window and a codec."""
    fields = {name: rooms.load("controls", name).FIELDS for name in controls}
    try:
        dataset = Dataset.open(folder, window.cameras)
    except ValueError as error:
        return CheckReport(folder=folder, faults=(Fault(file=folder, rule=str(error)),))
    faults = [*find_faults(dataset)]
    for control, wanted in fields.items():
        found = (_field_fault(dataset, control, name, field) for name, field in wanted.items())
        faults += [fault for fault in found if fault is not None]
    notes = [frame_rule(codec.frames_per_latent, window.num_frames), *_split_notes(dataset)]
    if len(dataset.views) > 1:
        told = "" if "views" in controls else "; without the control views the model is not told which is which"
        notes.append(f"cameras: {', '.join(dataset.views)}{told}")
    clips: Counter[str] = Counter()
    dropped: list[Dropped] = []
    try:
        codec.grid(
            views=len(dataset.views), frames=window.num_frames, height_px=window.height_px, width_px=window.width_px
        )
        refs, dropped = dataset.windows(window)
        clips = Counter(ref.split for ref in refs)
        notes += _window_notes(dataset, window, codec.frames_per_latent, dropped)
        if not refs:
            rule = f"no clip is left: {dropped[0].reason if dropped else 'there are no episodes'}"
            faults.append(Fault(file=folder, episode=dropped[0].episode if dropped else None, rule=rule))
        elif not clips["train"]:
            notes.append("no clip is in the split train: such a dataset can be generated from, not trained on")
        elif not clips["val"]:
            notes.append("no clip is in the split val: nothing is held out to validate with and to generate from")
    except ValueError as error:
        faults.append(Fault(file=folder, field="window", rule=str(error).removeprefix("window: ")))
    if "text" in controls and (silent := sum(not all(episode.texts) for episode in dataset.episodes)):
        notes.append(f"{silent} of {len(dataset.episodes)} episodes have no caption; they train without text")
    return CheckReport(
        folder=folder,
        faults=tuple(faults),
        dropped=tuple(dropped),
        num_clips=tuple(clips.items()),
        notes=tuple(notes),
    )


def frame_rule(frames_per_latent: int, num_frames: int) -> str:
    """The rule for the number of frames of a clip, with the nearest legal numbers."""
    r = frames_per_latent
    below = 1 + r * max(0, (num_frames - 1) // r)
    verdict = "fits" if below == num_frames else f"does not fit; the nearest are {below} and {below + r}"
    return (
        f"frame rule: the codec keeps the first frame and packs every further {r} into one latent frame, "
        f"so a clip has 1 + {r} k frames; {num_frames} {verdict}"
    )


def _field_fault(dataset: Dataset, control: str, name: str, field: Field) -> Fault | None:
    """What keeps a control from reading a feature."""
    path = dataset.folder / INFO
    if name not in dataset.features:
        has = ", ".join(dataset.features) or "no features"
        rule = f"the control {control!r} needs this feature ({field.unit}); the dataset has {has}"
        return None if field.optional else Fault(file=path, field=name, rule=rule)
    if field.per_view != name.startswith(CAMERA_PREFIX):
        kind = "one value per camera" if field.per_view else "one value for all cameras"
        return Fault(file=path, field=name, rule=f"the control {control!r} needs {kind}")
    shape = dataset.features[name]
    is_same = len(shape) == len(field.shape) and all(
        isinstance(wanted, str) or wanted == got for got, wanted in zip(shape, field.shape, strict=True)
    )
    rule = f"the control {control!r} needs the shape {list(field.shape)} per frame, got {list(shape)}"
    return None if is_same else Fault(file=path, field=name, rule=rule)


def _split_notes(dataset: Dataset) -> list[str]:
    counts = Counter(episode.split for episode in dataset.episodes)
    words = ", ".join(f"{count} {split}" for split, count in counts.items())
    is_lent = "val" in counts and "val" not in dataset.info.splits
    return [f"episodes: {words}" + (f" (no val split in {INFO}: the last tenth is val)" if is_lent else "")]


def _window_notes(dataset: Dataset, window: Window, frames_per_latent: int, dropped: Sequence[Dropped]) -> list[str]:
    notes = []
    rate_hz = window.rate_hz(dataset.fps_hz)
    if rate_hz != dataset.fps_hz:
        notes.append(f"clips have {rate_hz:g} Hz, the dataset {dataset.fps_hz:g}: the nearest frames are taken")
        if "action" in dataset.features:
            notes.append(
                "actions are taken at those frames too; relative ones are not added up over skipped frames: "
                f"then give --fps-hz {dataset.fps_hz:g}, or record the motion at {rate_hz:g} Hz (docs/data.md)"
            )
    if dropped:
        shortest = min(dataset.episodes[drop.episode].length for drop in dropped)
        advice = []
        for clip_hz in dict.fromkeys((rate_hz, dataset.fps_hz)):
            steps = int((shortest - 1) * clip_hz / dataset.fps_hz + 1e-6) // frames_per_latent
            if steps:
                rate = "" if clip_hz == rate_hz else f" with fps_hz {clip_hz:g}"
                advice.append(f"num_frames {1 + frames_per_latent * steps}{rate} keeps all")
        words = f"{len(dropped)} of {len(dataset.episodes)} episodes give no clip; "
        notes.append(words + (", ".join(advice) or f"the shortest has {shortest} frames, too few for any clip"))
    return notes
