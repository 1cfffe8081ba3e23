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


def controls_of(task: str, controls: str | None) -> tuple[str, ...]:
    """Names of --controls, or else the controls of the task. ValueError for an unknown task."""
    return tuple(controls.split(",")) if controls else tasks.find(task).controls


def window_of(cameras: str | None, **values: Any) -> dict[str, Any]:
    """What differs from the base's own window: the options that were given."""
    chosen = {name: value for name, value in values.items() if value is not None}
    return chosen if cameras is None else {**chosen, "cameras": tuple(cameras.split(","))}


def pace_of(context: int | None, chunk: int | None, lookahead: int | None, carry: str | None) -> dict[str, Any]:
    """How a driven world goes on, as far as the options say it."""
    given = {"context": context, "chunk": chunk, "lookahead": lookahead, "carry": carry}
    return {name: value for name, value in given.items() if value is not None}
