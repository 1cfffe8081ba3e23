"""The command line: the way of the data, one command per stage."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worldtune.options import (
    BaseOption,
    CamerasOption,
    CarryOption,
    ChunkOption,
    CodecOption,
    ContextOption,
    ControlsOption,
    DataOption,
    FpsOption,
    HeightOption,
    LookaheadOption,
    NumFramesOption,
    SamplerOption,
    StrideOption,
    TextOption,
    WeightsOption,
    WidthOption,
    controls_of,
    names_of,
    those_given,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Post-train world foundation models on your own clips, and measure that they obey.",
)
console = Console()


@app.command(name="list", epilog="Example: worldtune list")
def list_everything() -> None:
    """Show the tasks, bases, layouts and rooms that are here."""
    from worldtune.stages.overview import overview

    overview(console)


@app.command(epilog="Example: worldtune convert my-videos my-dataset --layout videos")
def convert(
    source: Annotated[Path, typer.Argument(help="Folder in a foreign layout.")],
    destination: Annotated[Path, typer.Argument(help="New LeRobot v3 dataset.")],
    layout: Annotated[str, typer.Option(help="How SOURCE is laid out; `worldtune list` names the layouts.")],
    allow_missing_captions: Annotated[
        bool, typer.Option("--allow-missing-captions", help="Clips without a caption get an empty one.")
    ] = False,
    fps_hz: Annotated[
        float | None, typer.Option(help="Frame rate of recordings whose files do not tell it, e.g. folders of images.")
    ] = None,
    estimate_poses: Annotated[
        bool,
        typer.Option(
            "--estimate-poses", help="Find camera poses from the frames; clips where that fails are left out."
        ),
    ] = False,
) -> None:
    """Turn a foreign layout into a LeRobot v3 dataset. The layouts are described in docs/layouts.md."""
    from worldtune.stages.convert import convert as stage

    made = stage(
        source,
        destination,
        layout,
        allow_missing_captions=allow_missing_captions,
        fps_hz=fps_hz,
        estimate_poses=estimate_poses,
    )
    console.print(f"dataset: {made}")


@app.command(epilog="Example: worldtune check my-dataset --task general")
def check(
    dataset: Annotated[Path, typer.Argument(help="LeRobot v3 dataset.")],
    task: Annotated[str, typer.Option(help="Which task it should serve.")] = "general",
    controls: ControlsOption = None,
    base: BaseOption = "nano-diffusion",
    codec: CodecOption = None,
    text_encoder: TextOption = None,
    cameras: CamerasOption = None,
    num_frames: NumFramesOption = None,
    fps_hz: FpsOption = None,
    height_px: HeightOption = None,
    width_px: WidthOption = None,
    stride: StrideOption = None,
) -> None:
    """Find every fault of a dataset before hours are spent on it. Exit 1 when there is one."""
    from worldtune.stages.base import find_base
    from worldtune.stages.check import check as stage

    size = those_given(num_frames=num_frames, height_px=height_px, width_px=width_px)
    window = those_given(cameras=names_of(cameras), fps_hz=fps_hz, stride=stride, **size)
    report = stage(dataset, controls_of(task, controls), find_base(base, codec, text_encoder), window)
    report.show(console)
    raise typer.Exit(0 if report.ok else 1)


@app.command(epilog="Example: worldtune prepare my-dataset my-cache --base nano-diffusion")
def prepare(
    dataset: Annotated[Path, typer.Argument(help="LeRobot v3 dataset.")],
    cache: Annotated[Path, typer.Argument(help="Cache to make or to continue.")],
    base: BaseOption,
    codec: CodecOption = None,
    text_encoder: TextOption = None,
    task: Annotated[str, typer.Option(help="Which task the cache should serve.")] = "general",
    controls: ControlsOption = None,
    cameras: CamerasOption = None,
    num_frames: NumFramesOption = None,
    fps_hz: FpsOption = None,
    height_px: HeightOption = None,
    width_px: WidthOption = None,
    stride: StrideOption = None,
    resize: Annotated[str, typer.Option(help="crop keeps the aspect ratio, stretch does not.")] = "crop",
    workers: Annotated[int, typer.Option(help="Further processes that decode; the cache is the same.")] = 0,
) -> None:
    """Decode, resample, resize and encode every clip once. Killed and started again it continues."""
    from worldtune.stages.base import find_base
    from worldtune.stages.prepare import prepare as stage

    size = those_given(num_frames=num_frames, height_px=height_px, width_px=width_px, resize=resize)
    window = those_given(cameras=names_of(cameras), fps_hz=fps_hz, stride=stride, **size)
    found = find_base(base, codec, text_encoder)
    made = stage(dataset, cache, found, controls=controls_of(task, controls), window=window, workers=workers)
    console.print(f"cache: {made}")


@app.command(
    epilog="Example: worldtune train --task general --base nano-diffusion --data my-cache --out my-run --steps 200"
)
def train(
    task: Annotated[str, typer.Option(help="One of the six tasks; see `worldtune list`.")],
    base: BaseOption,
    data: Annotated[Path, typer.Option(help="Cache made by `worldtune prepare`.")],
    out: Annotated[Path, typer.Option(help="Run folder to make or to continue.")],
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    seed: Annotated[int, typer.Option(help="Decides data order, noise and dropout.")] = 0,
    lora: Annotated[bool, typer.Option("--lora", help="Train low-rank adapters instead of all weights.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Any setting, e.g. --set optim.lr=1e-4.")
    ] = None,
    controls: ControlsOption = None,
    codec: CodecOption = None,
    text_encoder: TextOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved settings and the plan, then stop.")
    ] = False,
) -> None:
    """Post-train a base on a cache. Killed at any moment, the same command continues."""
    from worldtune.run import compose
    from worldtune.stages.base import find_base
    from worldtune.stages.train import train as stage

    run = compose(
        task=task,
        base=find_base(base, codec, text_encoder),
        data=data,
        controls=controls_of(task, controls),
        codec=None if codec is None else str(codec),
        text_encoder=None if text_encoder is None else str(text_encoder),
        seed=seed,
        steps=steps,
        lora=lora,
        assignments=assignments or [],
    )
    stage(run, out, dry_run=dry_run)


@app.command(epilog="Example: worldtune generate my-run --data my-cache --out my-clips --num-clips 8")
def generate(
    run: Annotated[Path, typer.Argument(help="Run made by `worldtune train`.")],
    data: Annotated[Path, typer.Option(help="Cache with held-out clips.")],
    out: Annotated[Path, typer.Option(help="Folder for the clips.")],
    num_clips: Annotated[int, typer.Option(help="How many held-out clips to continue.")] = 4,
    seed: Annotated[int, typer.Option(help="Noise; the same for every column.")] = 0,
    split: Annotated[str, typer.Option(help="Which split to take the clips from.")] = "val",
    num_observed: Annotated[int, typer.Option(help="Leading latent frames that are given.")] = 1,
    given: Annotated[
        str, typer.Option(help="first-view: the first camera is given whole, the others follow it. Else: frames.")
    ] = "frames",
    weights: WeightsOption = "ema",
    sharpen: Annotated[
        bool, typer.Option("--sharpen", help="Autoregressive runs: decode tokens with the base's diffusion decoder.")
    ] = False,
    assignments: SamplerOption = None,
) -> None:
    """Continue held-out clips with the post-trained model and with its base, under the same seeds."""
    from worldtune.stages.generate import generate as stage

    made = stage(
        run,
        data,
        out,
        num_clips=num_clips,
        seed=seed,
        split=split,
        num_observed=num_observed,
        given=given,
        weights=weights,
        sharpen=sharpen,
        assignments=assignments or [],
    )
    console.print(f"clips: {made}")


@app.command(epilog="Example: worldtune evaluate my-clips")
def evaluate(
    outs: Annotated[list[Path], typer.Argument(help="Folders made by `worldtune generate`; several seeds are pooled.")],
    report: Annotated[Path | None, typer.Option(help="Folder for the report. Default: the first OUT.")] = None,
) -> None:
    """Judge generated clips: report.json and a self-contained report.html."""
    from worldtune.stages.evaluate import evaluate as stage

    console.print(f"report: {stage(outs, report)}")


@app.command(epilog="Example: worldtune steer my-run")
def steer(
    run: Annotated[Path, typer.Argument(help="Run made by `worldtune train`.")],
    port: Annotated[int, typer.Option(help="Where the page is.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Other than loopback, visitors need the token that is printed.")
    ] = "127.0.0.1",
    data: DataOption = None,
    seed: Annotated[int, typer.Option(help="Noise.")] = 0,
    weights: WeightsOption = "ema",
    context: ContextOption = None,
    chunk: ChunkOption = None,
    lookahead: LookaheadOption = None,
    carry: CarryOption = None,
    assignments: SamplerOption = None,
) -> None:
    """Drive a post-trained world from the browser: keys, sticks or a gamepad; see docs/steer.md."""
    from worldtune.stages.serve import serve as stage

    pace = those_given(context=context, chunk=chunk, lookahead=lookahead, carry=carry)
    stage(
        run,
        console,
        host=host,
        port=port,
        data=data,
        seed=seed,
        weights=weights,
        pace=pace,
        assignments=assignments or [],
    )


@app.command(epilog="Example: worldtune rollout my-run --controls way.csv --out clip.mp4")
def rollout(
    run: Annotated[Path, typer.Argument(help="Run made by `worldtune train`.")],
    out: Annotated[Path, typer.Option(help="Video to write; drift and speed go beside it, as .json.")],
    controls: Annotated[
        Path | None,
        typer.Option(help="CSV or JSON of commands by axis. Default: those recorded with the start clip."),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(
            help="A way to follow, CSV. Trajectory: time_s,x_m,y_m,yaw_rad. Camera: time_s,x_m,y_m,z_m,qx,qy,qz,qw; "
            "or the camera_path.json of the nerfstudio viewer."
        ),
    ] = None,
    start: Annotated[str | None, typer.Option(help="Clip to start from. Default: the first held-out one.")] = None,
    chunks: Annotated[int | None, typer.Option(help="How many to make. Default: as far as the controls go.")] = None,
    data: DataOption = None,
    dataset: Annotated[Path | None, typer.Option(help="Also save the session as a LeRobot dataset here.")] = None,
    seed: Annotated[int, typer.Option(help="Noise.")] = 0,
    weights: WeightsOption = "ema",
    context: ContextOption = None,
    chunk: ChunkOption = None,
    lookahead: LookaheadOption = None,
    carry: CarryOption = None,
    assignments: SamplerOption = None,
) -> None:
    """Drive a post-trained world from a file of commands or along a path, of any length."""
    from worldtune.stages.rollout import rollout as stage

    made = stage(
        run,
        out,
        controls=controls,
        path=path,
        start=start,
        data=data,
        chunks=chunks,
        seed=seed,
        weights=weights,
        pace=those_given(context=context, chunk=chunk, lookahead=lookahead, carry=carry),
        assignments=assignments or [],
        dataset=dataset,
    )
    console.print(
        f"video: {out}, {made.made_VTHWC.shape[1]} frames made at {made.frames_per_second:.1f} per second, "
        f"{made.frames_per_processor_s:.1f} per second of processor time"
    )


@app.command(epilog="Example: worldtune matrix --out my-matrix --task action --seeds 0")
def matrix(
    out: Annotated[Path, typer.Option(help="Folder for caches, runs, clips and reports; a matrix cut off continues.")],
    samples: Annotated[Path, typer.Option(help="Folder with the sample datasets of the worlds.")] = Path("samples"),
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be given several times.")] = None,
    base: Annotated[list[str] | None, typer.Option(help="Only this base; may be given several times.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, each a run of its own.")] = "0,1,2",
    steps: Annotated[int | None, typer.Option(help="Optimizer steps. Default: the task's.")] = None,
    num_clips: Annotated[int | None, typer.Option(help="Held-out clips. Default: the task's.")] = None,
    results: Annotated[Path | None, typer.Option(help="Keep every cell's report here, TASK-FAMILY.json.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Any setting of training.")
    ] = None,
) -> None:
    """Run all tasks on all shipped bases, start to report, and print one table. Exit 1 when a cell fails."""
    from worldtune.stages.base import shipped
    from worldtune.stages.matrix import matrix as stage
    from worldtune.tasks import TASKS

    cells = stage(
        samples,
        out,
        task_names=task or list(TASKS),
        bases=base or list(shipped()),
        seeds=_numbers(seeds),
        results=results,
        steps=steps,
        num_clips=num_clips,
        assignments=assignments or [],
    )
    raise typer.Exit(0 if all(cell.report is not None for cell in cells) else 1)


@app.command(epilog="Example: worldtune export my-run exported --format diffusers")
def export(
    run: Annotated[Path, typer.Argument(help="Run made by `worldtune train`.")],
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    format: Annotated[str, typer.Option(help="nvidia (model.pt) or diffusers (transformer/).")],
    weights: WeightsOption = "ema",
) -> None:
    """Write a run's network in NVIDIA's or diffusers' form."""
    from worldtune.stages.export import export_run as stage

    console.print(f"exported: {stage(run, folder, format, weights)}")


@app.command(epilog="Example: worldtune verify reference-cases")
def verify(folder: Annotated[Path, typer.Argument(help="Folder of reference cases (*.safetensors).")]) -> None:
    """Compare our networks with recorded outputs of NVIDIA's. Exit 1 when one differs."""
    from worldtune.stages.verify import verify as stage

    results = stage(folder)
    table = Table("case", "max error", "limit", "")
    for result in results:
        verdict = "[green]passed[/]" if result.passed else f"[red]FAILED[/] {escape(result.note)}"
        error, limit = ("-" if value is None else f"{value:.1e}" for value in (result.max_error, result.limit))
        table.add_row(escape(result.name), error, limit, verdict)
    console.print(table)
    raise typer.Exit(0 if results and all(result.passed for result in results) else 1)


def _numbers(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise ValueError(f"--seeds {words}: wanted whole numbers with commas between them, such as 0,1,2") from None


def main() -> None:
    """Entry point: a user's mistake is one clear sentence and exit code 1, never a traceback."""
    try:
        app()
    except (ValueError, OSError) as error:
        words = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            words = f"{error.filename}: {error.strerror.lower()}"
        Console(stderr=True).print(f"[red]error:[/] {escape(words)}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
