"""`worldtune steer`: the page on a port."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from worldtune.stages.steer import open_run


def serve(
    folder: Path,
    console: Console,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    data: Path | None = None,
    seed: int = 0,
    weights: str = "ema",
    pace: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> None:
    """Drive a run until interrupted. Raises ValueError for a run without anything to steer, or without the extra."""
    try:
        from worldtune.steering import server
        from worldtune.steering.access import Access
    except ImportError:
        raise ValueError("the page needs `pip install -e '.[steer]'` in WorldTune's checkout") from None
    access = Access.of(host, port)
    steered = open_run(folder, data=data, weights=weights, seed=seed, pace=pace, assignments=assignments)
    if not steered.session.axes and not steered.has_text:
        raise ValueError(f"{folder}: none of its controls ({', '.join(steered.run.controls)}) can be steered")
    if access.token is not None:
        console.print(
            f"[yellow]warning:[/] {host} can be reached from other machines, over plain HTTP. Whoever has this address "
            "can drive, and can read the pictures of the dataset.",
            soft_wrap=True,
        )
    console.print(f"steer: {access.url} (Ctrl-C ends)", highlight=False, soft_wrap=True)
    server.serve(steered, access)
