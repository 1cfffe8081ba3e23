"""What the controls of a run are told about a window: recorded and commanded signals, and words.

Shape legend: V views, T frames, H W rows and columns, L text rows, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from worldtune.contract.nouns import Clip, Grid
from worldtune.contract.protocols import TextEncoder
from worldtune.contract.steering import Axis, Steering
from worldtune.steering.take import CAMERA_PREFIX, Features


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


class Signals:
    """Features and texts of a window -> the arrays that a batch carries."""

    def __init__(
        self, controls: Sequence[Driven], text_encoder: TextEncoder, grid: Grid, views: tuple[str, ...], fps_hz: float
    ) -> None:
        self._controls, self._texts, self._grid, self._views, self._fps_hz = controls, text_encoder, grid, views, fps_hz
        self._rows: dict[str, Tensor] = {}

    def arrays(self, features: Features, texts: tuple[str, ...], total: int) -> dict[str, dict[str, Tensor]]:
        """Aligned arrays of all controls for a window of `total` latent frames, with a batch axis."""
        grid = replace(self._grid, frames=total)
        size = (grid.height * grid.pixels_per_latent, grid.width * grid.pixels_per_latent)
        # Rooms look at the size of the pictures, never into them: one zero stands for all.
        picture = np.broadcast_to(np.uint8(0), (grid.views, grid.num_pixel_frames, *size, 3))
        clip = Clip(
            id="steered",
            video_VTHWC=picture,
            fps_hz=self._fps_hz,
            views=self._views,
            texts=texts,
            features=dict(features),
        )
        arrays: dict[str, dict[str, Tensor]] = {}
        for control in self._controls:
            aligned = control.align(clip, grid)
            arrays[control.name] = {name: torch.from_numpy(np.array(value))[None] for name, value in aligned.items()}
        arrays["text"] = {"tokens": self._tokens(texts)[None]}
        return arrays

    def wanted(self, features: Features, frames: int) -> Features:
        """Those that a control of the run reads; poses in double precision, since steps add up.

        ValueError when one has not as many rows as there are frames.
        """
        fields = {name for control in self._controls for name in control.fields}
        result = {}
        for name in sorted(fields & features.keys()):
            value = np.asarray(features[name])
            length = value.shape[1] if name.startswith(CAMERA_PREFIX) else len(value)
            if length != frames:
                raise ValueError(f"a start of {frames} frames has {length} values of {name}")
            result[name] = value.astype(np.float64) if value.dtype.kind == "f" else value
        return result

    def _tokens(self, texts: tuple[str, ...]) -> Tensor:
        """Rows of the texts of all views, [V,L,D], as a cache keeps them."""
        if not set(texts) <= self._rows.keys():
            different = list(dict.fromkeys(texts))
            self._rows = dict(zip(different, self._texts.encode(different), strict=True))
        tokens_VLD = torch.zeros(len(texts), self._texts.max_length, self._texts.width, dtype=torch.float16)
        for row_LD, text in zip(tokens_VLD, texts, strict=True):
            row_LD[: len(self._rows[text])] = self._rows[text].to(torch.float16)
        return tokens_VLD
