"""How far long rollouts drift from the simulator's truth: `python -m recipes.drift CELL LONG --out NAME.json`.

CELL is a cell of `worldtune matrix` (camera or action), LONG a dataset of long episodes of the same world
(`python -m worlds render rooms --split val --seed 77 --episodes 16 --frames 97 --out LONG`). Every episode is followed
from its first frame under its recorded controls; a chunk is a latent frame. The cell's probe, trained on real clips,
says how far each chunk is from its control. A command that was killed continues where it was.

Shape legend: V views, T frames (pixel or latent), H W rows and columns, C colours, D numbers of a control.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from worldtune import settings
from worldtune.contract import rooms
from worldtune.contract.cache import Cache
from worldtune.contract.files import file_hash, read_json, write_json
from worldtune.contract.nouns import Clip, Grid
from worldtune.dataset import Dataset
from worldtune.metrics.drift import MEASURES, drift
from worldtune.metrics.intervals import bootstrap_mean
from worldtune.run import Run, load_run
from worldtune.stages import probes
from worldtune.stages.base import find_base
from worldtune.stages.prepare import prepare
from worldtune.stages.provenance import circumstances
from worldtune.stages.rollout import along_recording
from worldtune.stages.source import Source
from worldtune.stages.steer import Steered, open_run
from worldtune.stages.world import weights_path

DEFAULT = "as shipped"
VARIANTS: dict[str, dict[str, tuple[dict[str, Any], tuple[str, ...]]]] = {
    "diffusion": {
        DEFAULT: ({}, ()),
        "a window at a time": ({"chunk": 4}, ()),
        "at most two given": ({"window": 3}, ()),
        "two overlap": ({"context": 2}, ()),
        "noise on the given": ({}, ("augment_sigma=0.2",)),
        "detail from noise 3": ({}, ("sigma_min=3",)),
        "four steps": ({}, ("steps=4",)),
    },
    "autoregressive": {
        DEFAULT: ({}, ()),
        "frames encoded anew": ({"carry": "frames"}, ()),
        "two overlap": ({"context": 2}, ()),
        "four overlap": ({"context": 4}, ()),
        "likelier tokens": ({}, ("top_p=0.5",)),
    },
}
"""Family -> what is tried against drift: fields of the session's pace, settings of the sampler."""
Scores = dict[str, list[list[float]]]
"""Measure -> [clip][chunk]."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads a control from video, chunk by chunk."""

    control: str
    judge: probes.Judge

    def commanded_TD(self, clip: Clip, grid: Grid) -> np.ndarray:
        """What a clip shows by its own recording."""
        targets_TD: np.ndarray = self.judge.room.targets(rooms.load("controls", self.control).align(clip, grid))
        return targets_TD

    def errors(self, video_VTHWC: np.ndarray, commanded_TD: np.ndarray) -> dict[str, list[float]]:
        """Measure -> one error per latent frame after the first, each judged as a step of its own."""
        unit, room = self.judge.unit, self.judge.room
        read_TD, wanted_TD = self.judge.probe.read(video_VTHWC) / unit, commanded_TD / unit
        steps = [room.errors(read_TD[k : k + 2], wanted_TD[k : k + 2], num_observed=1) for k in range(len(read_TD) - 1)]
        # Over one step, a path is the step itself.
        return {name: [step[name] for step in steps] for name in steps[0] if "_path_" not in name}


def reader_of(run: Run, control: str) -> Reader:
    """With the probe that `worldtune evaluate` trained beside the run's cache, or trained now."""
    cache = Cache.open(Path(run.data))
    source = Source(cache=cache, dataset=Dataset.of_cache(cache))
    room = probes.room_of(control)
    if room is None:
        raise ValueError(f"{control} cannot be read from video")
    judge = probes.judge(control, room, source, Console(stderr=True))
    return Reader(control=control, judge=judge)


def long_cache(run: Run, long: Path, cell: Path) -> Path:
    """Long episodes as the run's base reads them, in the folder of the cell."""
    base = find_base(run.base, run.codec_path, run.text_encoder_path)
    # One window per episode: rollouts begin with the first frame.
    return prepare(long, cell / "long", base, controls=run.controls, window={"stride": 1_000_000})


def long_clips(steered: Steered, count: int, chunks: int) -> list[Clip]:
    """The true episodes, as long as the rollouts."""
    frames = 1 + chunks * steered.session.grid.frames_per_latent
    clips = []
    for start in steered.starts(count):
        clip = steered.recording(start)
        if clip.video_VTHWC.shape[1] < frames:
            raise ValueError(f"{start.id}: {clip.video_VTHWC.shape[1]} frames, {chunks} chunks need {frames}")
        cut = {k: v[:, :frames] if k.startswith("camera.") else v[:frames] for k, v in clip.features.items()}
        clips.append(replace(clip, video_VTHWC=clip.video_VTHWC[:, :frames], features=cut))
    return clips


def rollouts(steered: Steered, count: int, chunks: int) -> tuple[list[np.ndarray], float]:
    """Videos [V,T,H,W,3] with their given first frame, and frames per second of processor time."""
    videos, rates = [], []
    for start in steered.starts(count):
        steered.session.start(steered.observation(start, latents=1))
        made = along_recording(steered, start, chunks)
        videos.append(np.concatenate([made.start_VHWC[:, None], made.made_VTHWC], 1))
        rates.append(made.frames_per_processor_s)
    return videos, float(np.mean(rates))


def scored(videos: Sequence[np.ndarray], clips: Sequence[Clip], grid: Grid, reader: Reader) -> Scores:
    """All measures by chunk."""
    found = []
    for video_VTHWC, clip in zip(videos, clips, strict=True):
        truth_VTHWC = clip.video_VTHWC
        rows = drift(video_VTHWC[:, 1:], truth_VTHWC[:, 0], grid.frames_per_latent, truth_VTHWC[:, 1:])
        pixels = {name: [row[name] for row in rows] for name in MEASURES}
        found.append(pixels | reader.errors(video_VTHWC, reader.commanded_TD(clip, grid)))
    return {name: [one[name] for one in found] for name in found[0]}


def disobeyed(videos: Sequence[np.ndarray], clips: Sequence[Clip], grid: Grid, reader: Reader) -> Scores:
    """Errors of rollouts against the control of the next clip: those of a world that does not listen."""
    others = [*clips[1:], clips[0]]
    found = [reader.errors(video, reader.commanded_TD(clip, grid)) for video, clip in zip(videos, others, strict=True)]
    return {name: [one[name] for one in found] for name in found[0]}


def bounds(run: Run, clips: Sequence[Clip]) -> dict[str, list[np.ndarray]]:
    """The floor, the first frame again and again; the ceiling, the truth through the codec; the truth itself."""
    codec = find_base(run.base, run.codec_path, run.text_encoder_path).codec()
    truth = [clip.video_VTHWC for clip in clips]
    return {
        "copy": [np.repeat(real[:, :1], real.shape[1], 1) for real in truth],
        "codec": [codec.decode(codec.encode(torch.from_numpy(real)[None]))[0].numpy() for real in truth],
        "truth": truth,
    }


def pooled(scores: Scores, seed: int) -> dict[str, list[dict[str, float | None]]]:
    """Means over clips with 95 % intervals, by chunk."""

    def one(values: Sequence[float]) -> dict[str, float | None]:
        interval = bootstrap_mean(values, seed)
        return {k: None if v is None else round(v, 4) for k, v in asdict(interval).items() if k != "num_clips"}

    return {name: [one(chunk) for chunk in zip(*of_clips, strict=True)] for name, of_clips in scores.items()}


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """The whole report."""
    folder = args.cell / f"run-{args.seed}"
    run = load_run(folder)
    control = next(name for name in run.controls if name != "text")
    cache = long_cache(run, args.long, args.cell)
    reader = reader_of(run, control)
    plain = open_run(folder, data=cache, seed=args.seed)
    clips = long_clips(plain, args.clips, args.chunks)
    grid = replace(plain.session.grid, frames=args.chunks + 1)
    report = {
        "command": " ".join(["python -m recipes.drift", *sys.argv[1:]]),
        "seed": args.seed,
        "num_clips": len(clips),
        "num_chunks": args.chunks,
        "frames_per_chunk": plain.session.frames_per_step,
        "control": control,
        "probe": asdict(reader.judge.schooling),
        "measures": measures(reader.judge.room.MEASURES),
        # Where the cache was is a matter of the machine.
        "run": {**settings.to_json(run), "data": Path(run.data).name},
        "weights_hash": file_hash(weights_path(folder, "ema")),
    }
    report |= before(args.out, report) or {"variants": {}, "bounds": {}}
    if not report["bounds"]:
        limits = {name: scored(videos, clips, grid, reader) for name, videos in bounds(run, clips).items()}
        report["bounds"] = {name: pooled(scores, args.seed) for name, scores in limits.items()}
    for name, (pace, assignments) in chosen(run.family, args.only).items():
        if name in report["variants"]:
            continue
        steered = open_run(folder, data=cache, seed=args.seed, pace=pace, assignments=assignments)
        chunks = args.chunks * plain.session.frames_per_step // steered.session.frames_per_step
        videos, rate_hz = rollouts(steered, args.clips, chunks)
        if name == DEFAULT:
            report["bounds"]["another control"] = pooled(disobeyed(videos, clips, grid, reader), args.seed)
        report["variants"][name] = {
            "pace": asdict(steered.session.pace),
            "sampler": list(assignments),
            "frames_per_processor_s": round(rate_hz, 1),
            "by_chunk": pooled(scored(videos, clips, grid, reader), args.seed),
            **circumstances(),
        }
        write_json(args.out, report)
    return report


def before(out: Path, now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Variants and bounds of a command that was killed. ValueError when the file is of something else."""
    if not out.exists():
        return None
    found = read_json(out)
    same = ("control", "seed", "num_clips", "num_chunks", "weights_hash")
    if changed := [name for name in same if found.get(name) != now[name]]:
        raise ValueError(f"{out}: measured with another {', '.join(changed)}; choose another file")
    return {"variants": found["variants"], "bounds": found["bounds"]}


def measures(of_control: Mapping[str, Any]) -> dict[str, str]:
    """What each number means."""
    return {name: measure.meaning for name, measure in {**MEASURES, **of_control}.items() if "_path_" not in name}


def chosen(family: str, names: Sequence[str]) -> dict[str, tuple[dict[str, Any], tuple[str, ...]]]:
    """The variants to run, all without names."""
    known = VARIANTS[family]
    if unknown := set(names) - known.keys():
        raise ValueError(f"--only {', '.join(sorted(unknown))}: wanted some of {', '.join(known)}")
    return {name: variant for name, variant in known.items() if not names or name in names}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", type=Path)
    parser.add_argument("long", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--chunks", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0, help="of the run, and of the noise")
    parser.add_argument("--only", nargs="+", default=[], help="names of variants; default: all")
    args = parser.parse_args()
    for name, variant in measured(args)["variants"].items():
        for measure, rows in variant["by_chunk"].items():
            print(f"{name}: {measure}", *(f"{row['value']:.3f}" for row in rows[:: max(1, len(rows) // 6)]))


if __name__ == "__main__":
    main()
