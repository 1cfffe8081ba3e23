"""What a room must offer. Rooms are modules or final classes; nothing is subclassed.

Shape legend: B batch, V views, T frames, H W rows and columns, C channels, L text tokens, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Batch, Clip, Coverage, Field, Grid, Measure, Reading


class Codec(Protocol):
    """Pixels <-> what a family models. Loaded by `codecs.<room>.load(path)`."""

    identity: str
    """Hash of weights and configuration: the cache is keyed by it."""
    latent_channels: int
    frames_per_latent: int
    pixels_per_latent: int
    network: nn.Module
    """Its weights: whoever computes on another device than the CPU moves them there."""

    @property
    def num_codes(self) -> int | None:
        """Size of the vocabulary of a discrete codec, whose "latents" are token ids 0 .. num_codes - 1; else None."""
        ...

    def grid(self, *, views: int, frames: int, height_px: int, width_px: int) -> Grid:
        """The latent grid of a clip. ValueError unless frames = 1 + r k and the size divides."""
        ...

    def encode(self, video_BVTHWC: Tensor) -> Tensor:
        """uint8 [B,V,T,H,W,3] -> raw latents, float32 [B,V,t,h,w,C], or token ids, int64 [B,V,t,h,w].

        Every view is encoded on its own.
        """
        ...

    def decode(self, latent_BVTHWC: Tensor) -> Tensor:
        """What `encode` gives -> uint8 [B,V,T,H,W,3]."""
        ...

    def statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        """(mean_TC, std_TC) of raw latents for that many latent frames; (z - mean) / std has unit variance.

        ValueError from a discrete codec.
        """
        ...


class TextEncoder(Protocol):
    """Texts -> rows. Loaded by `text.load(path)`."""

    identity: str
    width: int
    max_length: int
    """Rows a family expects: shorter texts are padded with zero rows, longer ones are cut."""

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """One float32 [L, D] per text, true rows only, L <= max_length."""
        ...


class Control(Protocol):
    """A control room: `controls/<name>/__init__.py` offers these as module attributes."""

    FIELDS: dict[str, Field]
    """Dataset features it reads."""
    Config: type
    """Frozen dataclass of its settings; has `dropout` in 0..1."""

    def align(self, clip: Clip, grid: Grid) -> dict[str, np.ndarray]:
        """Put the control on the latent grid; no parameters, no settings, cached. Arrays without a batch axis."""
        ...

    def encoder(self, example: dict[str, Tensor], config: Any) -> nn.Module:
        """The trained part. Its `widths` attribute is a Widths; `forward(arrays, keep_B) -> Condition`.

        `example` holds the arrays of one batch: they tell the widths. keep_B False nulls the control for that row.
        A module may have `fit(clips: Iterable[dict[str, Tensor]])`: it is called once, with the arrays of every
        training clip, before the first step; what it learns belongs into buffers, which are saved with the weights.
        A module may have `adopt(saved: Mapping[str, Tensor])`: it is called before weights are loaded, with its own
        saved tensors, to take their sizes where they serve this data too.
        """
        ...


class Obedience(Protocol):
    """How far a clip is from what its control commands: `controls/<name>/obedience.py`, for rooms that can tell.

    A probe (`metrics/probe.py`), trained on real clips, reads the controlled quantity from the video.
    """

    READING: Reading
    """How it is read, and in which units."""

    MEASURES: dict[str, Measure]
    """What `errors` returns, by name; names end with the unit."""

    def targets(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Aligned arrays of one clip -> what the probe reads of each latent frame.

        float32 [T, D] in physical units. Row k is of pixel frames (k-1)r .. kr; row 0 is not read. [V, D] for
        `READING.by_view`.
        """
        ...

    def errors(
        self, read_TD: np.ndarray, commanded_TD: np.ndarray, num_observed: int, *choices_KD: np.ndarray
    ) -> dict[str, float]:
        """Values of MEASURES for one clip: what was read from its video against what was commanded.

        The first `num_observed` latent frames were given to the model and do not count, nor does row 0.
        choices_KD: only for `READING.names`, the different commands of all judged clips, to choose from.
        """
        ...


class Family(Protocol):
    """A family room: `families/<name>/__init__.py` offers these as module attributes."""

    CARRIERS: frozenset[str]
    Objective: type
    """Frozen dataclass: settings of the training objective."""
    Sampler: type
    """Frozen dataclass: settings of generation."""
    WINDOW: dict[str, Any]
    """Clips of the released models: num_frames, fps_hz, height_px, width_px."""
    MODELS_TOKENS: bool
    """True when it models the token ids of a discrete codec, False for latents."""
    EXPORTS: dict[str, Callable[[Mapping[str, Tensor], Any, Path], None]]
    """Foreign layouts by name: writes (weights, configuration of the network) into a folder."""

    def recognises(self, path: Path) -> bool:
        """Whether a checkpoint file or folder holds a network of this family. ValueError when it is damaged."""
        ...

    def network_config(self, path: Path, weights: Mapping[str, Tensor]) -> Any:
        """Configuration of the network with these weights that was made from the base at `path`."""
        ...

    def load_base(self, path: Path, widths: Widths) -> tuple[nn.Module, Coverage]:
        """A network grown to take `widths`, equal to the base at step 0, and what became of every tensor."""
        ...

    def loss(
        self, model: nn.Module, batch: Batch, condition: Condition, generator: torch.Generator, config: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar to minimise and named parts to log (detached scalars)."""
        ...

    def sample(
        self,
        model: nn.Module,
        batch: Batch,
        condition: Condition,
        null: Condition,
        generators: Sequence[torch.Generator],
        config: Any,
    ) -> Tensor:
        """A target-like tensor whose first num_observed_B latent frames are the batch's.

        One generator per batch row, so a clip's noise does not depend on its batch. `null` is the condition with
        every guided control dropped.
        """
        ...

    def wrap_units(self, model: nn.Module) -> list[nn.Module]:
        """Blocks for sharding, compiling and activation checkpointing."""
        ...

    def adapter_targets(self, model: nn.Module) -> list[str]:
        """Names of the linear layers that LoRA adapts."""
        ...
