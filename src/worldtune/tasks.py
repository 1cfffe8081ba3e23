"""The six post-training tasks, each a named set of controls. Users compose more with `--controls`."""

from dataclasses import dataclass

from worldtune.contract.errors import suggest


@dataclass(frozen=True, kw_only=True)
class Task:
    """One row of the table."""

    controls: tuple[str, ...]
    """Control rooms, in the order in which their conditions are joined."""
    summary: str
    """What post-training adds, in one line."""
    instructs: bool = False
    """Whether texts say what is to happen, so that obedience to them can be measured."""


TASKS: dict[str, Task] = {
    "general": Task(controls=("text",), summary="one's own videos: a camera, a factory, a look"),
    "instruction": Task(controls=("text",), summary="robot video from a text instruction", instructs=True),
    "action": Task(controls=("action",), summary="the next frames from a robot's action vectors"),
    "camera": Task(controls=("text", "camera"), summary="3-D consistent video along a camera path"),
    "multiview": Task(controls=("text", "views"), summary="synchronised surround views from text"),
    "multiview_trajectory": Task(
        controls=("text", "views", "trajectory"), summary="surround views along a vehicle trajectory"
    ),
}


def find(name: str) -> Task:
    """ValueError naming the nearest task when there is none of that name."""
    if name not in TASKS:
        raise ValueError(f"no task {name!r}: {suggest(name, TASKS)}")
    return TASKS[name]
