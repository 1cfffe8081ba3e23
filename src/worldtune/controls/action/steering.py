"""Commanded robot actions: one axis per number of an action that varies in training.

Shape legend: T frames, D numbers of one action.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worldtune.contract.steering import Axis, percentiles
from worldtune.controls.action.reach import POSE, poses_after

ACTION, STATE = "action", "observation.state"
COMMANDS = (ACTION,)

GRIPPER: tuple[tuple[str, str, tuple[tuple[str, ...], tuple[str, ...]], str, int], ...] = (
    ("x", "m", (("KeyS",), ("KeyW",)), "left-y", 1),
    ("y", "m", (("KeyD",), ("KeyA",)), "left-x", -1),
    ("z", "m", (("KeyF",), ("KeyR",)), "right-y", 1),
    ("roll", "rad", (("KeyZ",), ("KeyX",)), "", 1),
    ("pitch", "rad", (("ArrowDown",), ("ArrowUp",)), "", 1),
    ("yaw", "rad", (("ArrowRight", "KeyE"), ("ArrowLeft", "KeyQ")), "right-x", -1),
    ("open", "0..1", (("KeyG",), ("KeyH",)), "", 1),
)
"""Actions of seven numbers are read as Bridge and our tabletop record them: motion of the gripper to the next frame in
its own frame, x ahead, y left, z up, and how far it is open."""
OPEN = 6
"""Place of the opening: a level that stays, where the others are motions."""
KEY_ROWS = ("QWERTYUIO", "ASDFGHJKL")
"""Other actions get a column of the keyboard each: the upper key is more, the lower one less."""


def axes(recorded: Sequence[Mapping[str, np.ndarray]], fps_hz: float) -> tuple[Axis, ...]:
    """Ranges are those of the training actions without the outer 2.5 %; at rest is a motion of 0, or the median."""
    actions_TD = np.concatenate([np.asarray(part[ACTION], np.float64) for part in recorded])
    low, high = percentiles(actions_TD)
    middle = np.median(actions_TD, axis=0)
    numbers = actions_TD.shape[1]
    found = []
    for i in map(int, np.flatnonzero(high - low > 1e-6)):
        name, unit, keys, stick, sign = GRIPPER[i] if numbers == len(GRIPPER) else _plain(i)
        rest = 0.0 if low[i] <= 0 <= high[i] and name != "open" else float(middle[i])
        holds = numbers == len(GRIPPER) and i == OPEN
        found.append(
            Axis(
                name=name,
                unit=unit,
                low=float(low[i]),
                high=float(high[i]),
                rest=rest,
                holds=holds,
                keys=keys,
                stick=stick,
                stick_sign=sign,
            )
        )
    return tuple(found)


def extend(last: Mapping[str, np.ndarray], commands: Mapping[str, np.ndarray], fps_hz: float) -> dict[str, np.ndarray]:
    """The action at a frame leads to the next one; numbers that are no axis keep their last value.

    The last row leads beyond the new frames: it is at rest until it is commanded, and no model sees it before. Where
    the state of a gripper is known, it follows its actions.
    """
    last_D = np.asarray(last[ACTION])
    frames = len(next(iter(commands.values())))
    actions_TD = np.repeat(last_D[None], frames + 1, 0).astype(np.float32)
    for name, values_T in commands.items():
        actions_TD[:-1, _place(name, len(last_D))] = values_T
    actions_TD[-1] = actions_TD[-2]
    if STATE not in last or _no_gripper(last):
        return {ACTION: actions_TD}
    states_TS = np.repeat(np.asarray(last[STATE])[None], frames + 1, 0)
    states_TS[:, :POSE] = poses_after(states_TS[0], actions_TD[:-1])
    states_TS[1:, OPEN] = actions_TD[:-1, OPEN]
    return {ACTION: actions_TD, STATE: states_TS}


def _no_gripper(last: Mapping[str, np.ndarray]) -> bool:
    """Whether actions or states are not those of a gripper, so that no state follows from an action."""
    return len(last[ACTION]) != len(GRIPPER) or len(last[STATE]) < len(GRIPPER)


def _plain(place: int) -> tuple[str, str, tuple[tuple[str, ...], tuple[str, ...]], str, int]:
    more, less = KEY_ROWS
    keys = ((f"Key{less[place]}",), (f"Key{more[place]}",)) if place < len(more) else ((), ())
    return f"action_{place + 1}", "", keys, "", 1


def _place(name: str, numbers: int) -> int:
    if numbers == len(GRIPPER):
        return [row[0] for row in GRIPPER].index(name)
    return int(name.removeprefix("action_")) - 1
