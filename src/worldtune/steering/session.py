"""Session: a world that goes on, chunk after chunk, under commands.

The world model sees a window of latent frames. Within a window its own latents or tokens are the context of the next
chunk. A full window makes room for a new one, which begins with the last ones: tokens as they are, since they mean the
same wherever they stand; latents by way of the last frames shown, encoded anew, since the first of a window is coded
otherwise than the later ones. So a session never ends, and what is kept does not grow.

Shape legend: B batch of 1, V views, T frames, H W rows and columns, C channels.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from worldtune.contract.errors import suggest
from worldtune.contract.nouns import Batch, Grid
from worldtune.contract.protocols import Codec, TextEncoder
from worldtune.contract.randomness import generator
from worldtune.contract.steering import Holds
from worldtune.steering.coded import Coded
from worldtune.steering.signals import Driven, Signals
from worldtune.steering.state import TOKENS, Observation, Pace, State
from worldtune.steering.take import Features, Take, extended, first_frames, joined, last_frames, newest

UNDO_DEPTH = 64
"""Chunks that can be taken back."""
MAX_RECORDED_BYTES = 1 << 30
"""Of frames: an hour and a half of one nano camera."""

Command = float | Sequence[float]
"""One value for all frames of a chunk, or one for each."""


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
        """sample: a batch of one window, its noise -> a target like the batch's. grid: of the windows in training.

        ValueError when tokens are to be carried and the codec makes none.
        """
        self.views, self.fps_hz, self.grid, self.pace, self.seed = views, fps_hz, grid, pace, seed
        self._sample, self._controls, self._device = sample, controls, torch.device(device)
        self._coded = Coded(codec, self._device)
        self._signals = Signals(controls, text_encoder, grid, views, fps_hz)
        if pace.carry == TOKENS and not self._coded.is_discrete:
            raise ValueError("steering: this run models latents and has no tokens to carry; use carry frames")
        self._states: deque[State] = deque(maxlen=UNDO_DEPTH + 1)
        self._origin: Observation | None = None
        self._takes: list[Take] | None = None
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
    def context(self) -> Tensor:
        """What the network sees of the past: normalised latents [V,T,H,W,C], or tokens [V,T,H,W]."""
        return self._now.context

    @property
    def shown_VHWC(self) -> np.ndarray:
        """The newest frame."""
        return self._now.frames_VTHWC[:, -1]

    @property
    def held(self) -> dict[str, float]:
        """How the axes stand that stay where they were put; at the start, as they were recorded."""
        # Read from the signals, so that undo, reset and recordings that are followed need no book of their own.
        last = newest(self._now.features)
        values: dict[str, float] = {}
        for control in self._controls:
            if isinstance(control.steering, Holds):
                values |= control.steering.held(last, control.axes)
        return values

    @property
    def _now(self) -> State:
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
        features = last_frames(self._signals.wanted(observation.features, got.shape[1]), frames)
        shown_VTHWC = got[:, -frames:]
        target = self._coded.encoded(shown_VTHWC)
        first = State(
            target=target,
            known=target.shape[1],
            frames_VTHWC=shown_VTHWC,
            features=features,
            texts=observation.texts,
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
        values = self._values(commands)
        last = newest(self._now.features)
        new: dict[str, np.ndarray] = {}
        for control in self._controls:
            if control.steering is not None:
                mine = {axis.name: values[axis.name] for axis in control.axes}
                new |= control.steering.extend({**last}, mine, self.fps_hz)
        return self._advance(new, {name: values_T[: self.frames_per_step] for name, values_T in values.items()})

    def follow(self, features: Features) -> np.ndarray:
        """The next frames under recorded features, of which row 0 is the newest frame that there is."""
        return self._advance(dict(features), {})

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
                commands={name: np.array([value]) for name, value in self.held.items()},
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

    def _values(self, commands: Mapping[str, Command]) -> dict[str, np.ndarray]:
        """Each axis' values for the frames of a chunk and of the lookahead."""
        known, held = {axis.name: axis for axis in self.axes}, self.held
        values = {}
        for name in commands:
            if name not in known:
                raise ValueError(f"no axis {name!r} in this run: {suggest(name, known) if known else 'it has none'}")
        for name, axis in known.items():
            given = commands.get(name, held.get(name, axis.rest))
            row = np.atleast_1d(np.asarray(given, np.float64))
            if not np.isfinite(row).all() or row.ndim != 1 or len(row) not in (1, self.frames_per_step):
                raise ValueError(f"axis {name}: wanted one finite number or {self.frames_per_step}, got {given!r}")
            row = np.clip(np.resize(row, self.frames_per_step), axis.low, axis.high)
            ahead = self.pace.lookahead * self.grid.frames_per_latent
            values[name] = np.concatenate([row, np.full(ahead, row[-1])])
        return values

    def _advance(self, new: Features, commands: dict[str, np.ndarray]) -> np.ndarray:
        """Make a chunk. new: rows from the newest frame on of the features that change; the others stay."""
        now = self._now
        if now.known + self.pace.chunk > self.pace.window:
            now = self._next_window(now)
        total = min(now.known + self.pace.chunk + self.pace.lookahead, self.pace.window)
        features = extended(now.features, new, (total - now.known) * self.grid.frames_per_latent)
        made = self._drawn(now, features, total)[:, : self.pace.chunk]
        target = torch.cat([now.target, made], 1)[:, -self.pace.window :]
        frames_VTHWC = self._coded.decoded(target)[:, -self.frames_per_step :]
        known = now.known + self.pace.chunk
        kept = first_frames(features, self._num_frames(known))
        state = State(
            target=target,
            known=known,
            frames_VTHWC=np.concatenate([now.frames_VTHWC, frames_VTHWC], 1),
            features=kept,
            texts=now.texts,
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

    def _next_window(self, state: State) -> State:
        """The state with a window that begins with the last of what there is."""
        frames = self._num_frames(self.pace.context)
        shown_VTHWC = state.frames_VTHWC[:, -frames:]
        return replace(
            state,
            target=state.target if self.pace.carry == TOKENS else self._coded.encoded(shown_VTHWC),
            known=self.pace.context,
            frames_VTHWC=shown_VTHWC,
            features=last_frames(state.features, frames),
        )

    def _drawn(self, state: State, features: Features, total: int) -> Tensor:
        """What follows in the window, [V,total - known,...]."""
        seen = state.context
        rest = seen.new_zeros((seen.shape[0], total - state.known, *seen.shape[2:]))
        batch = Batch(
            target=torch.cat([seen, rest], 1)[None],
            controls=self._signals.arrays(features, state.texts, total),
            fps_hz_B=torch.tensor([self.fps_hz]),
            clip_ids=("steered",),
            num_observed_B=torch.tensor([state.known]),
        )
        noise = generator(self.seed, state.number, "steer")
        return self._sample(batch.to(self._device), [noise])[0, :, state.known :]

    def _num_frames(self, latents: int) -> int:
        return 1 + (latents - 1) * self.grid.frames_per_latent
