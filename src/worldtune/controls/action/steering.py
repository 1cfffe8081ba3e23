"""Commanded robot actions: one axis per number of an action that varies in training. Motions rest at 0, targets hold.

Shape legend: T frames, D numbers of one action.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from worldtune.contract.steering import Axis, percentiles
from worldtune.controls.action import ACTION, STATE
from worldtune.controls.action.conventions import are_targets, moves_gripper
from worldtune.controls.action.reach import POSE, poses_after

COMMANDS = (ACTION,)

GRIPPER: tuple[tuple[str, str, tuple[tuple[str, ...], tuple[str, ...]], str, int], ...] = (
    ("x", "m", (("KeyS",), ("KeyW",)), "left-y", 1),
    ("y", "m", (("KeyD",), ("KeyA",)), "left-x", -1),
    ("z", "m", (("KeyF",), ("KeyR",)), "right-y", 1),
    ("roll", "rad", (("KeyZ",), ("KeyX",)), "", 1),
    ("pitch", "rad", (("ArrowDown",), ("ArrowUp",)), "", 1),
    ("yaw", "rad", (("ArrowRight", "KeyE"), ("ArrowLeft", "KeyQ")), "right-x", -1),
    ("gripper", "0..1", (("KeyG",), ("KeyH",)), "", 1),
)
"""Actions of seven numbers as Bridge and our tabletop record them: motion of the gripper to the next frame in its own
frame, x ahead, y left, z up; and how the hand stands then, as recorded: 1 is open on our tabletop, shut in Bridge."""
NAMES = tuple(row[0] for row in GRIPPER)
HAND = 6
"""Place of how the hand stands: a target, where the others are motions."""
SWEEP_S = (0.6, 10.0)
"""Shortest and longest time that a key takes a target from one end to the other."""
KEY_ROWS = ("QWERTYUIO", "ASDFGHJKL")
"""Other actions get a column of the keyboard each: the upper key is more, the lower one less."""


def axes(recorded: Sequence[Mapping[str, np.ndarray]], fps_hz: float) -> tuple[Axis, ...]:
    """Motions rest at 0 and range over the training actions without the outer 2.5 %.

    Targets hold and range over all of them, since a clip may well start with a joint at its end.
    """
    parts = [np.asarray(part[ACTION], np.float64) for part in recorded]
    actions_TD = np.concatenate(parts)
    is_gripper = moves_gripper(recorded)
    holds_D = np.arange(len(GRIPPER)) == HAND if is_gripper else are_targets(recorded)
    low_D, high_D = np.where(holds_D, [actions_TD.min(0), actions_TD.max(0)], percentiles(actions_TD))
    sweep_D = _sweeps_s(parts, high_D - low_D, fps_hz)
    found = []
    for i in map(int, np.flatnonzero(high_D - low_D > 1e-6)):
        name, unit, keys, stick, sign = GRIPPER[i] if is_gripper else _plain(i)
        low, high, holds = float(low_D[i]), float(high_D[i]), bool(holds_D[i])
        found.append(
            Axis(
                name=name,
                unit=unit,
                low=low if holds else min(low, 0.0),
                high=high if holds else max(high, 0.0),
                rest=float(np.median(actions_TD[:, i])) if holds else 0.0,
                holds=holds,
                sweep_s=float(sweep_D[i]),
                keys=keys,
                stick=stick,
                stick_sign=sign,
            )
        )
    return tuple(found)


def held(last: Mapping[str, np.ndarray], axes: Sequence[Axis]) -> dict[str, float]:
    """How the hand of a gripper stands; of others the targets of the newest action: their state may be in other units.

    The action of the newest frame already leads to the next one: an open hand would start to shut.
    """
    values_D = last[STATE if _has_gripper_state(last, [axis.name for axis in axes]) else ACTION]
    return {axis.name: axis.cut(float(values_D[_place(axis.name)])) for axis in axes if axis.holds}


def extend(last: Mapping[str, np.ndarray], commands: Mapping[str, np.ndarray], fps_hz: float) -> dict[str, np.ndarray]:
    """The action at a frame leads to the next one; numbers that are no axis keep their last value.

    The last row leads beyond the new frames: it repeats the one before until it is commanded, and no model sees it
    until then. The state of a gripper follows its actions; any other state stays, since what leads to it is not known.
    """
    last_D = np.asarray(last[ACTION])
    frames = len(next(iter(commands.values())))
    actions_TD = np.repeat(last_D[None], frames + 1, 0).astype(np.float32)
    for name, values_T in commands.items():
        actions_TD[:-1, _place(name)] = values_T
    actions_TD[-1] = actions_TD[-2]
    if not _has_gripper_state(last, commands):
        return {ACTION: actions_TD}
    states_TS = np.repeat(np.asarray(last[STATE])[None], frames + 1, 0)
    states_TS[:, :POSE] = poses_after(states_TS[0], actions_TD[:-1])
    states_TS[1:, HAND] = actions_TD[:-1, HAND]
    return {ACTION: actions_TD, STATE: states_TS}


def _has_gripper_state(last: Mapping[str, np.ndarray], names: Iterable[str]) -> bool:
    """Whether there is a state that goes along with the actions of axes with these names."""
    return STATE in last and set(names) <= set(NAMES)


def _sweeps_s(parts: Sequence[np.ndarray], span_D: np.ndarray, fps_hz: float) -> np.ndarray:
    """How long the training actions take over their range, at the speed at which most of the way is made."""
    steps_TD = np.concatenate([np.abs(np.diff(part, axis=0)) for part in parts])
    step_D = (steps_TD**2).sum(0) / np.maximum(steps_TD.sum(0), 1e-12)
    return np.clip(span_D / np.maximum(step_D * fps_hz, 1e-12), *SWEEP_S)


def _plain(place: int) -> tuple[str, str, tuple[tuple[str, ...], tuple[str, ...]], str, int]:
    more, less = KEY_ROWS
    keys = ((f"Key{less[place]}",), (f"Key{more[place]}",)) if place < len(more) else ((), ())
    return f"action_{place + 1}", "", keys, "", 1


def _place(name: str) -> int:
    return NAMES.index(name) if name in NAMES else int(name.removeprefix("action_")) - 1
