"""Session: a world that goes on, chunk after chunk, under commands.

The world model sees a window of latent frames. Within a window its own latents (or tokens) are the context of the next
chunk; when the window is full, the last frames shown are encoded anew and start the next one. So a session never ends,
and pixels pass the codec once per window, not once per chunk. Both families work like this: an autoregressive cache
of keys could not outlive a window either, since positions start anew.

Shape legend: B batch of 1, V views, T frames, H W rows and columns, C channels, L text rows, D width.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldtune.contract.errors import suggest
from worldtune.contract.nouns import Batch, Clip, Grid
from worldtune.contract.protocols import Codec, TextEncoder
from worldtune.contract.randomness import generator
from worldtune.contract.steering import Axis, Steering
from worldtune.steering.take import (
    CAMERA_PREFIX,
    Features,
    Take,
    extended,
    first_frames,
    joined,
    last_frames,
    newest,
)

UNDO_DEPTH = 64
"""Chunks that can be taken back."""
MAX_RECORDED_BYTES = 1 << 30
"""Of frames: an hour and a half of one nano camera."""

Command = float | Sequence[float]
"""One value for all frames of a chunk, or one for each."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a session starts from."""

    frames_VTHWC: np.ndarray
    """uint8, 1 + r k frames; the last ones become the context."""
    features: Features
    """Recorded signals of these frames, [T,...] or [V,T,...] for features of cameras."""
    texts: tuple[str, ...]
    """One per view."""


@dataclass(frozen=True, kw_only=True)
class Driven:
    """One control of a run."""

    name: str
    align: Callable[[Clip, Grid], dict[str, np.ndarray]]
    """The room's own, with the run's settings."""
    fields: tuple[str, ...] = ()
    """Features that it reads."""
    steering: Steering | None = None
    """None: nothing in it can be steered."""
    axes: tuple[Axis, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a session goes on, in latent frames."""

    window: int
    """Seen at once, at most: what the run was trained on."""
    context: int = 1
    """From which a new window starts: the last ones shown, encoded anew."""
    chunk: int = 1
    """Made by one step."""
    lookahead: int = 0
    """Made beyond the chunk and thrown away, so that a network sees windows as long as in training."""

    def __post_init__(self) -> None:
        if self.context < 1 or self.chunk < 1 or self.lookahead < 0:
            raise ValueError(f"steering: context and chunk must be at least 1, lookahead at least 0, got {self}")
        if self.context + self.chunk > self.window:
            raise ValueError(
                f"steering: context {self.context} and chunk {self.chunk} do not fit into the window of "
                f"{self.window} latent frames that the run was trained on"
            )


@dataclass(frozen=True, kw_only=True)
class _State:
    """Everything that the next chunk depends on, besides the seed. Never changed in place."""

    target: Tensor
    """Normalised latents [V,T,H,W,C] or tokens [V,T,H,W] of the window so far."""
    frames_VTHWC: np.ndarray
    """The same frames as they were shown."""
    features: Features
    texts: tuple[str, ...]
    held: dict[str, float] = field(default_factory=dict)
    """Values of axes that stay where they were put."""
    number: int = 0
    """Chunks made since the start."""


class Session:
    """A world under way. Not safe for several threads at a time.

    `start` gives it something to go on from; then `step` answers commands with frames. The same start, seed and
    commands give the same frames.
    """

    def __init__(
        self,
        *,
        sample: Callable[[Batch, Sequence[torch.Generator]], Tensor],
        codec: Codec,
        text_encoder: TextEncoder,
        controls: Sequence[Driven],
        grid: Grid,
        views: tuple[str, ...],
        fps_hz: float,
        pace: Pace,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """sample: a batch of one window, its noise -> a target like the batch's. grid: of the windows in training."""
        self.views, self.fps_hz, self.grid, self.pace, self.seed = views, fps_hz, grid, pace, seed
        self._sample, self._codec, self._texts, self._device = sample, codec, text_encoder, torch.device(device)
        self._controls = controls
        self._states: deque[_State] = deque(maxlen=UNDO_DEPTH + 1)
        self._origin: Observation | None = None
        self._takes: list[Take] | None = None
        self._rows: dict[str, Tensor] = {}
        self.axes = tuple(axis for control in controls for axis in control.axes)

    @property
    def frames_per_step(self) -> int:
        """Pixel frames that a step makes."""
        return self.pace.chunk * self.grid.frames_per_latent

    @property
    def started(self) -> bool:
        """Whether there is something to go on from."""
        return bool(self._states)

    @property
    def number(self) -> int:
        """Chunks made since the start, without those taken back."""
        return self._now.number

    @property
    def texts(self) -> tuple[str, ...]:
        """What the world is told in words, one text per view."""
        return self._now.texts

    @property
    def shown_VHWC(self) -> np.ndarray:
        """The newest frame."""
        return self._now.frames_VTHWC[:, -1]

    @property
    def _now(self) -> _State:
        if not self._states:
            raise ValueError("the session has no start yet: give it an observation")
        return self._states[-1]

    def start(self, observation: Observation) -> np.ndarray:
        """Begin anew from an observation; returns the frames that are kept as context, [V,T,H,W,3].

        ValueError when the frames are not of the size and number of cameras of the run.
        """
        size = (self.grid.height * self.grid.pixels_per_latent, self.grid.width * self.grid.pixels_per_latent)
        got = observation.frames_VTHWC
        if got.dtype != np.uint8 or got.ndim != 5 or got.shape[0] != len(self.views) or got.shape[2:] != (*size, 3):
            wanted = f"uint8 [{len(self.views)},T,{size[0]},{size[1]},3]"
            raise ValueError(f"a start needs frames {wanted}, got {got.dtype} {list(got.shape)}")
        frames = min(got.shape[1], self._num_frames(self.pace.context))
        frames = self._num_frames(1 + (frames - 1) // self.grid.frames_per_latent)
        features = last_frames(self._read_features(observation.features, got.shape[1]), frames)
        shown_VTHWC = got[:, -frames:]
        first = _State(
            target=self._encoded(shown_VTHWC), frames_VTHWC=shown_VTHWC, features=features, texts=observation.texts
        )
        self._origin = observation
        self._states.clear()
        self._states.append(first)
        self._takes = None
        return shown_VTHWC

    def step(self, commands: Mapping[str, Command]) -> np.ndarray:
        """The next frames, uint8 [V,T,H,W,3].

        commands: by axis, in its unit, cut to its range; absent axes are at rest, or stay where they were put.
        ValueError for an unknown axis or a value that is no finite number.
        """
        values, held = self._values(commands)
        last = newest(self._now.features)
        new: dict[str, np.ndarray] = {}
        for control in self._controls:
            if control.steering is not None:
                mine = {axis.name: values[axis.name] for axis in control.axes}
                new |= control.steering.extend({**last}, mine, self.fps_hz)
        return self._advance(new, held, {name: values_T[: self.frames_per_step] for name, values_T in values.items()})

    def follow(self, features: Features) -> np.ndarray:
        """The next frames under recorded features, of which row 0 is the newest frame that there is."""
        return self._advance(dict(features), self._now.held, {})

    def say(self, texts: Sequence[str]) -> None:
        """Other words from the next chunk on: one text, or one per view. ValueError for another number."""
        given = tuple(texts) * (len(self.views) if len(texts) == 1 else 1)
        if len(given) != len(self.views):
            raise ValueError(f"{len(given)} texts for {len(self.views)} cameras; give one, or one each")
        self._states[-1] = replace(self._now, texts=given)

    def undo(self) -> bool:
        """Take the last chunk back. False when there is none, or it is too long ago."""
        if len(self._states) < 2:
            return False
        self._states.pop()
        if self._takes is not None:
            self._takes = [take for take in self._takes if take.number <= self._now.number] or None
        return True

    def reset(self) -> None:
        """Back to the start, under the seed that is set now."""
        if self._origin is None:
            raise ValueError("the session has no start yet: give it an observation")
        self.start(self._origin)

    def record(self) -> None:
        """Keep what is made from now on; `recorded` returns it."""
        now = self._now
        self._takes = [
            Take(
                number=now.number,
                frames_VTHWC=now.frames_VTHWC[:, -1:],
                features=last_frames(now.features, 1),
                commands={},
                texts=now.texts,
            )
        ]

    @property
    def recording(self) -> bool:
        """Whether frames are being kept."""
        return self._takes is not None

    @property
    def recording_full(self) -> bool:
        """Whether so much is kept that frames are no longer added."""
        return sum(take.frames_VTHWC.nbytes for take in self._takes or ()) > MAX_RECORDED_BYTES

    def recorded(self) -> Take:
        """Everything since `record`, as one piece. ValueError when nothing was recorded."""
        if self._takes is None or len(self._takes) < 2:
            raise ValueError("nothing is recorded yet: start recording, then steer")
        return joined(self._takes, self.axes)

    def _values(self, commands: Mapping[str, Command]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Each axis' values for the frames of a chunk and of the lookahead, and those of axes that hold."""
        known = {axis.name: axis for axis in self.axes}
        values, held = {}, {}
        for name in commands:
            if name not in known:
                raise ValueError(f"no axis {name!r} in this run: {suggest(name, known) if known else 'it has none'}")
        for name, axis in known.items():
            given = commands.get(name, self._now.held.get(name, axis.rest))
            row = np.atleast_1d(np.asarray(given, np.float64))
            if not np.isfinite(row).all() or row.ndim != 1 or len(row) not in (1, self.frames_per_step):
                raise ValueError(f"axis {name}: wanted one finite number or {self.frames_per_step}, got {given!r}")
            row = np.clip(np.resize(row, self.frames_per_step), axis.low, axis.high)
            ahead = self.pace.lookahead * self.grid.frames_per_latent
            values[name] = np.concatenate([row, np.full(ahead, row[-1])])
            if axis.holds:
                held[name] = float(row[-1])
        return values, held

    def _advance(self, new: Features, held: dict[str, float], commands: dict[str, np.ndarray]) -> np.ndarray:
        """Make a chunk. new: rows from the newest frame on of the features that change; the others stay."""
        now = self._now
        if now.target.shape[1] + self.pace.chunk > self.pace.window:
            now = self._next_window(now)
        known = now.target.shape[1]
        total = min(known + self.pace.chunk + self.pace.lookahead, self.pace.window)
        made = (total - known) * self.grid.frames_per_latent
        features = extended(now.features, new, made)
        target = self._drawn(now, features, total)[:, : known + self.pace.chunk]
        frames_VTHWC = self._decoded(target)[:, -self.frames_per_step :]
        kept = first_frames(features, self._num_frames(known + self.pace.chunk))
        state = _State(
            target=target,
            frames_VTHWC=np.concatenate([now.frames_VTHWC, frames_VTHWC], 1),
            features=kept,
            texts=now.texts,
            held=held,
            number=now.number + 1,
        )
        self._states.append(state)
        if self._takes is not None and not self.recording_full:
            rows = last_frames(kept, self.frames_per_step + 1)
            self._takes.append(
                Take(
                    number=state.number, frames_VTHWC=frames_VTHWC, features=rows, commands=commands, texts=state.texts
                )
            )
        return frames_VTHWC

    def _next_window(self, state: _State) -> _State:
        """The last frames shown, encoded as the start of a clip."""
        frames = self._num_frames(self.pace.context)
        shown_VTHWC = state.frames_VTHWC[:, -frames:]
        return replace(
            state,
            target=self._encoded(shown_VTHWC),
            frames_VTHWC=shown_VTHWC,
            features=last_frames(state.features, frames),
        )

    def _drawn(self, state: _State, features: Features, total: int) -> Tensor:
        known = state.target.shape[1]
        rest = state.target.new_zeros((state.target.shape[0], total - known, *state.target.shape[2:]))
        batch = Batch(
            target=torch.cat([state.target, rest], 1)[None],
            controls=self._arrays(features, state.texts, total),
            fps_hz_B=torch.tensor([self.fps_hz]),
            clip_ids=("steered",),
            num_observed_B=torch.tensor([known]),
        )
        noise = generator(self.seed, state.number, "steer")
        return self._sample(batch.to(self._device), [noise])[0]

    def _arrays(self, features: Features, texts: tuple[str, ...], total: int) -> dict[str, dict[str, Tensor]]:
        """Aligned arrays of all controls with a batch axis."""
        grid = replace(self.grid, frames=total)
        size = (grid.height * grid.pixels_per_latent, grid.width * grid.pixels_per_latent)
        # Rooms look at the size of the pictures, never into them: one zero stands for all.
        picture = np.broadcast_to(np.uint8(0), (grid.views, grid.num_pixel_frames, *size, 3))
        clip = Clip(
            id="steered",
            video_VTHWC=picture,
            fps_hz=self.fps_hz,
            views=self.views,
            texts=texts,
            features=dict(features),
        )
        arrays: dict[str, dict[str, Tensor]] = {}
        for control in self._controls:
            aligned = control.align(clip, grid)
            arrays[control.name] = {name: torch.from_numpy(np.array(value))[None] for name, value in aligned.items()}
        arrays["text"] = {"tokens": self._tokens(texts)[None]}
        return arrays

    def _tokens(self, texts: tuple[str, ...]) -> Tensor:
        """Rows of the texts of all views, [V,L,D], as a cache keeps them."""
        if not set(texts) <= self._rows.keys():
            different = list(dict.fromkeys(texts))
            self._rows = dict(zip(different, self._texts.encode(different), strict=True))
        tokens_VLD = torch.zeros(len(texts), self._texts.max_length, self._texts.width, dtype=torch.float16)
        for row_LD, text in zip(tokens_VLD, texts, strict=True):
            row_LD[: len(self._rows[text])] = self._rows[text].to(torch.float16)
        return tokens_VLD

    def _encoded(self, frames_VTHWC: np.ndarray) -> Tensor:
        raw = self._codec.encode(torch.from_numpy(np.ascontiguousarray(frames_VTHWC))[None].to(self._device))[0]
        mean, std = self._statistics(raw.shape[1])
        return raw if mean is None else (raw.float() - mean) / std

    def _decoded(self, target: Tensor) -> np.ndarray:
        mean, std = self._statistics(target.shape[1])
        raw = target if mean is None else target * std + mean
        return self._codec.decode(raw[None])[0].cpu().numpy()

    def _statistics(self, frames: int) -> tuple[Any, Any]:
        if self._codec.num_codes is not None:
            return None, None
        mean_TC, std_TC = self._codec.statistics(frames)
        return mean_TC[:, None, None].to(self._device), std_TC[:, None, None].to(self._device)

    def _num_frames(self, latents: int) -> int:
        return 1 + (latents - 1) * self.grid.frames_per_latent

    def _read_features(self, features: Features, frames: int) -> Features:
        """Those that a control of the run reads; poses in double precision, since steps add up."""
        wanted = {name for control in self._controls for name in control.fields}
        result = {}
        for name in sorted(wanted & features.keys()):
            value = np.asarray(features[name])
            length = value.shape[1] if name.startswith(CAMERA_PREFIX) else len(value)
            if length != frames:
                raise ValueError(f"a start of {frames} frames has {length} values of {name}")
            result[name] = value.astype(np.float64) if value.dtype.kind == "f" else value
        return result
