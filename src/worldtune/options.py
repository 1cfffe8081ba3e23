"""Options that several commands share, and what becomes of them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from worldtune import tasks

BaseOption = Annotated[str, typer.Option("--base", help="A shipped base, a local file or folder, or a hub id.")]
CodecOption = Annotated[Path | None, typer.Option("--codec", help="Codec folder, when the base does not bring it.")]
TextOption = Annotated[
    Path | None, typer.Option("--text-encoder", help="Text encoder folder, when the base does not bring it.")
]
ControlsOption = Annotated[
    str | None, typer.Option("--controls", help="Compose your own, e.g. text,camera. Default: the task's.")
]
CamerasOption = Annotated[
    str | None, typer.Option("--cameras", help="Those that clips show, in this order, e.g. top,wrist. Default: all.")
]
NumFramesOption = Annotated[int | None, typer.Option(help="Frames of a clip; 1 + r k. Default: the base's.")]
FpsOption = Annotated[float | None, typer.Option(help="Frame rate of clips. Default: the base's.")]
HeightOption = Annotated[int | None, typer.Option(help="Height of clips. Default: the base's.")]
WidthOption = Annotated[int | None, typer.Option(help="Width of clips. Default: the base's.")]
StrideOption = Annotated[int | None, typer.Option(help="Frames between window starts. Default: num_frames - 1.")]

DataOption = Annotated[Path | None, typer.Option("--data", help="Cache with start clips. Default: the run's own.")]
ContextOption = Annotated[int | None, typer.Option("--context", help="Latent frames a window starts from: 1.")]
ChunkOption = Annotated[int | None, typer.Option("--chunk", help="Latent frames made at a time: 1.")]
LookaheadOption = Annotated[int | None, typer.Option("--lookahead", help="Latent frames made beyond, unseen: 0.")]
CarryOption = Annotated[
    str | None, typer.Option("--carry", help="How a window passes its end on: tokens or frames. Default: the family's.")
]
WeightsOption = Annotated[str, typer.Option("--weights", help="ema or raw.")]
SamplerOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="A=B", help="Sampler setting, e.g. --set steps=10.")
]


def names_of(words: str | None) -> tuple[str, ...] | None:
    """Names with commas between them, as --controls and --cameras take them."""
    return None if words is None else tuple(words.split(","))


def controls_of(task: str, controls: str | None) -> tuple[str, ...]:
    """Names of --controls, or else the controls of the task. ValueError for an unknown task."""
    return names_of(controls or None) or tasks.find(task).controls


def those_given(**values: Any) -> dict[str, Any]:
    """The options that were given: what differs from a window's, or a pace's, own values."""
    return {name: value for name, value in values.items() if value is not None}
