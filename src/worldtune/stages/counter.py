"""Progress of a stage that handles one thing after another: a bar on a terminal, some lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINES_WITHOUT_TERMINAL = 10


class Counter:
    """`with Counter("generating", 64, console) as counter: ... counter.add(4)`."""

    def __init__(self, what: str, total: int, console: Console) -> None:
        self.what, self.total, self.done = what, total, 0
        self._console, self._began = console, time.perf_counter()
        self._every = max(1, total // LINES_WITHOUT_TERMINAL)
        self._bar = Progress(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> "Counter":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def add(self, count: int) -> None:
        """So many more are done."""
        before, self.done = self.done, self.done + count
        self._bar.update(self._task, completed=self.done)
        crossed = before // self._every != self.done // self._every
        if not self._console.is_terminal and (crossed or self.done == self.total):
            left_s = (time.perf_counter() - self._began) / self.done * (self.total - self.done)
            self._console.print(f"{self.what}: {self.done}/{self.total}  ETA {left_s:.0f} s", highlight=False)
