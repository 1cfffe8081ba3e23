"""`worldtune rollout`: a steered session without a page, from a file of commands, along a way in a file or a recording.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from worldtune import settings
from worldtune.contract.errors import suggest
from worldtune.contract.files import write_json
from worldtune.contract.steering import Axis
from worldtune.metrics.drift import MEASURES, drift
from worldtune.report.film import tiled
from worldtune.stages.counter import Counter
from worldtune.stages.provenance import circumstances
from worldtune.stages.steer import CRF, Start, Steered, even, open_run
from worldtune.steering.commands import read_commands
from worldtune.steering.session import Session
from worldtune.steering.take import CAMERA_PREFIX, Features
from worldtune.video.write import write_video

_log = logging.getLogger(__name__)

STILL = 0.05
"""m/s or rad/s: a way that asks less than this of what training never moves stays without a warning."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What was made, and how fast."""

    start_VHWC: np.ndarray
    made_VTHWC: np.ndarray
    truth_VTHWC: np.ndarray | None
    seconds_per_chunk: list[float]
    """By the clock."""
    processor_s_per_chunk: list[float]
    """Of all threads together: what one thread takes on a machine with nothing else to do."""

    @property
    def frames_per_second(self) -> float:
        """By the clock."""
        return self._rate_hz(self.seconds_per_chunk)

    @property
    def frames_per_processor_s(self) -> float:
        """The same per second of processor time."""
        return self._rate_hz(self.processor_s_per_chunk)

    def _rate_hz(self, per_chunk_s: list[float]) -> float:
        """Of all chunks but the first, which also warms up."""
        frames = self.made_VTHWC.shape[1] / len(per_chunk_s)
        return frames / max(float(np.mean(per_chunk_s[1:] or per_chunk_s)), 1e-9)


def rollout(
    folder: Path,
    out: Path,
    *,
    controls: Path | None,
    path: Path | None = None,
    start: str | None = None,
    data: Path | None = None,
    chunks: int | None = None,
    seed: int = 0,
    weights: str = "ema",
    pace: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    dataset: Path | None = None,
) -> Rollout:
    """Write the video of a session to `out` and its drift by chunk beside it, with the suffix .json.

    controls: CSV or JSON of commands; the last ones hold until the last chunk is full. path: a way in the form that
    the run's control reads. Neither: the controls that were recorded with the start clip, as long as its episode goes;
    then there is a truth to compare with. start: a clip's id; None: the first held-out one. chunks: how many; None: as
    far as the controls go. dataset: also save the session as a LeRobot dataset there. Raises ValueError for bad files,
    unknown clips and axes.
    """
    if out.suffix != ".mp4":
        raise ValueError(f"--out {out}: wanted a file that ends in .mp4")
    if controls is not None and path is not None:
        raise ValueError("--controls and --path: give one of them")
    steered = open_run(folder, data=data, weights=weights, seed=seed, pace=pace, assignments=assignments)
    clip = _found(steered, start)
    steered.session.start(steered.observation(clip))
    steered.session.record()
    if controls is not None:
        made = _commanded(steered, read_commands(controls, steered.session.axes, steered.session.held), chunks)
    elif path is not None:
        made = _along_path(steered, clip, path, chunks)
    else:
        made = along_recording(steered, clip, chunks)
    if dataset is not None:
        steered.save_dataset(steered.session.recorded(), dataset)
    whole_VTHWC = np.concatenate([made.start_VHWC[:, None], made.made_VTHWC], 1)
    write_video(out, even(tiled(whole_VTHWC)), steered.session.fps_hz, crf=CRF)
    write_json(out.with_suffix(".json"), _report(steered, clip, made, controls or path))
    return made


def _found(steered: Steered, wanted: str | None) -> Start:
    starts = {start.id: start for start in steered.starts()}
    if wanted is not None and wanted not in starts:
        raise ValueError(f"--start {wanted}: {steered.cache.folder} has no such clip; {suggest(wanted, starts)}")
    return next(iter(starts.values())) if wanted is None else starts[wanted]


def _commanded(steered: Steered, commands: dict[str, np.ndarray], chunks: int | None) -> Rollout:
    session = steered.session
    step = session.frames_per_step
    frames = max((len(column) for column in commands.values()), default=0)
    total = chunks or -(-frames // step)
    padded: dict[str, Sequence[float]] = {
        name: np.concatenate([column, np.full(max(0, total * step - len(column)), column[-1])]).tolist()
        for name, column in commands.items()
    }
    start_VHWC = session.shown_VHWC

    def made(chunk: int) -> np.ndarray:
        return session.step({name: column[chunk * step : (chunk + 1) * step] for name, column in padded.items()})

    return _driven(total, made, start_VHWC, None)


def along_recording(steered: Steered, start: Start, chunks: int | None) -> Rollout:
    """Follow the controls recorded with a clip from which the session has just started, as far as its episode goes.

    ValueError when more chunks are wanted than that.
    """
    session = steered.session
    context = 1 + (session.context.shape[1] - 1) * session.grid.frames_per_latent
    real = steered.recording(start)
    left = real.video_VTHWC.shape[1] - context
    total = _num_chunks(session, left, chunks, f"clip {start.id}: its recording", "Give --controls to go further")
    truth_VTHWC = real.video_VTHWC[:, context : context + total * session.frames_per_step]
    return _followed(session, dict(real.features), (context - 1, context - 1 + left), total, truth_VTHWC)


def _along_path(steered: Steered, start: Start, path: Path, chunks: int | None) -> Rollout:
    """Follow a way in a file as far as it goes."""
    session = steered.session
    features, commands = steered.follow(path, start)
    left = len(next(iter(commands.values())))
    if left:
        _warn_untrained(path, commands, session.axes)
    total = _num_chunks(session, left, chunks, f"{path}: the way", f"Frames come at {session.fps_hz:g} Hz")
    return _followed(session, features, (0, left), total, None)


def _warn_untrained(path: Path, commands: Mapping[str, np.ndarray], axes: Sequence[Axis]) -> None:
    """Say which axes are asked for more than the training clips show. What never moves in training is no axis."""
    known = {axis.name: axis for axis in axes}
    for name, asked_T in commands.items():
        low, high = float(asked_T.min()), float(asked_T.max())
        got, axis = f"{path}: {name} is {low:.3g} to {high:.3g}", known.get(name)
        if axis is None and max(-low, high) > STILL:
            _log.warning(f"{got}, the training clips do not move so: the model guesses")
        elif axis is not None and not axis.low - 1e-6 <= low <= high <= axis.high + 1e-6:
            seen = f"{axis.low:.3g} to {axis.high:.3g} {axis.unit}"
            _log.warning(f"{got}, the training clips show {seen}: beyond it the model guesses")


def _num_chunks(session: Session, frames: int, wanted: int | None, what: str, advice: str) -> int:
    """Chunks to make of so many frames. ValueError when there are less than were asked for."""
    most = frames // session.frames_per_step
    if most < (wanted or 1):
        raise ValueError(
            f"{what} goes on for {frames} frames, {most} chunks of {session.frames_per_step}; "
            f"{wanted or 1} were asked for. {advice}"
        )
    return wanted or most


def _followed(
    session: Session, features: Features, rows: tuple[int, int], total: int, truth_VTHWC: np.ndarray | None
) -> Rollout:
    """Chunks under features whose frames rows[0]..rows[1] are the newest one there is and all that follow."""
    step = session.frames_per_step
    seen = step + session.pace.lookahead * session.grid.frames_per_latent

    def made(chunk: int) -> np.ndarray:
        first = rows[0] + chunk * step
        chosen = np.minimum(np.arange(first, first + seen + 1), rows[1])
        return session.follow(
            {
                name: value[:, chosen] if name.startswith(CAMERA_PREFIX) else value[chosen]
                for name, value in features.items()
            }
        )

    return _driven(total, made, session.shown_VHWC, truth_VTHWC)


def _driven(
    total: int, made: Callable[[int], np.ndarray], start_VHWC: np.ndarray, truth_VTHWC: np.ndarray | None
) -> Rollout:
    """All chunks, each by its number, and how long each took."""
    parts, seconds, processor_s = [], [], []
    with Counter("driving", total, Console(stderr=True)) as counter:
        for chunk in range(total):
            begun, processor_begun = time.monotonic(), time.process_time()
            parts.append(made(chunk))
            seconds.append(time.monotonic() - begun)
            processor_s.append(time.process_time() - processor_begun)
            counter.add(1)
    return Rollout(
        start_VHWC=start_VHWC,
        made_VTHWC=np.concatenate(parts, 1),
        truth_VTHWC=truth_VTHWC,
        seconds_per_chunk=seconds,
        processor_s_per_chunk=processor_s,
    )


def _report(steered: Steered, clip: Start, made: Rollout, told: Path | None) -> dict[str, Any]:
    session = steered.session
    return {
        "drift": drift(made.made_VTHWC, made.start_VHWC, session.frames_per_step, made.truth_VTHWC),
        "measures": {name: measure.meaning for name, measure in MEASURES.items()},
        "frames_per_second": round(made.frames_per_second, 2),
        "frames_per_processor_s": round(made.frames_per_processor_s, 2),
        "seconds_per_chunk": [round(value, 4) for value in made.seconds_per_chunk],
        "clip": clip.id,
        "controls": "recorded" if told is None else str(told),
        "seed": session.seed,
        "pace": asdict(session.pace),
        "fps_hz": session.fps_hz,
        "run": settings.to_json(steered.run),
        **circumstances(),
    }
