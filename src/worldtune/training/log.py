"""What a run says: metrics.jsonl (exact, continued on resume), TensorBoard, and a live line for the user."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from worldtune.contract.files import read_json_lines, write_whole

FILE = "metrics.jsonl"
LINES_WITHOUT_TERMINAL = 20
"""Progress lines of a whole run when the output is a file."""


def read_metrics(run: Path) -> list[dict[str, float | str]]:
    """Rows of a run: kind ("train" or "validation"), step, and values. A half-written last row is left out."""
    return read_json_lines(run / FILE)


class MetricsLog:
    """Appends rows to metrics.jsonl and TensorBoard, dropping what an interrupted run wrote after its checkpoint.

    `step` is the step of that checkpoint, 0 when there is none.
    """

    def __init__(self, run: Path, step: int) -> None:
        rows = [row for row in read_metrics(run) if 0 < step >= int(row["step"])]
        with write_whole(run / FILE) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._stream = (run / FILE).open("a")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def row(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One row; it is on disk when this returns."""
        self._stream.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._stream.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def flush(self) -> None:
        """Also what TensorBoard holds back."""
        self._board.flush()

    def close(self) -> None:
        """Write all that is left."""
        self._stream.close()
        self._board.close()


class Live:
    """Progress for the user: a bar on a terminal, some lines elsewhere."""

    def __init__(self, num_steps: int, step: int, console: Console) -> None:
        self._console, self._num_steps, self._first = console, num_steps, step
        self._every = max(1, num_steps // LINES_WITHOUT_TERMINAL)
        self._began = time.perf_counter()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=num_steps, completed=step, text="")

    def __enter__(self) -> "Live":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One row of the log."""
        if kind == "validation":
            text = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
            self._bar.console.print(f"step {step}: validation {text}")
            return
        text = f"loss {values['loss']:.4f}  {values['tokens_per_s']:,.0f} tokens/s"
        self._bar.update(self._task, completed=step, text=text)
        if not self._console.is_terminal and (step % self._every == 0 or step == self._num_steps):
            left_s = (time.perf_counter() - self._began) / (step - self._first) * (self._num_steps - step)
            self._console.print(f"step {step}/{self._num_steps}  {text}  ETA {left_s:.0f} s")
