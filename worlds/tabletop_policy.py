"""What the arm does: push one object, wander, or keep still. A plan is a smooth path through way points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

DIRECTIONS = {"to the left": (-1.0, 0.0), "to the right": (1.0, 0.0), "away": (0.0, 1.0), "closer": (0.0, -1.0)}
"""Words and the direction they mean: (right, away) on the table, seen from the camera."""
PUSH_HEIGHT_M = 0.018
REACH_X_M = (0.24, 0.72)
REACH_Y_M = (-0.36, 0.36)
PLAN_S = 3.3
"""What one plan takes; in a longer episode the arm wanders on, a leg every WANDER_S, as fast as ever."""
WANDER_S = 1.1


class Target(Protocol):
    """What the policy needs to know of an object."""

    @property
    def position(self) -> np.ndarray: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Plan:
    """Way points [N, 7] reached at `times_s` [N]; between them the arm starts and stops smoothly."""

    instruction: str
    times_s: np.ndarray
    points: np.ndarray

    def at(self, time_s: float) -> np.ndarray:
        """State (x, y, z, roll, pitch, yaw, gripper) at a time, m and rad, gripper 0 closed .. 1 open."""
        last = len(self.times_s) - 2
        leg = min(max(int(np.searchsorted(self.times_s, time_s, side="right")) - 1, 0), last)
        start, end = self.times_s[leg], self.times_s[leg + 1]
        progress = np.clip((time_s - start) / (end - start), 0, 1)
        smooth = progress**2 * (3 - 2 * progress)
        return self.points[leg] + (self.points[leg + 1] - self.points[leg]) * smooth


def draw(rng: np.random.Generator, things: Sequence[Target], view: np.ndarray, duration_s: float) -> Plan:
    """Pick what to do: mostly a push that the instruction names, sometimes wandering or keeping still."""
    kind = rng.choice(["push", "wander", "still"], p=[0.78, 0.15, 0.07])
    planned_s = min(duration_s, PLAN_S)
    if kind == "push":
        plan = push(rng, things, view, planned_s)
    elif kind == "wander":
        plan = wander(rng, planned_s)
    else:
        plan = still(rng, planned_s)
    return _continued(rng, plan, duration_s)


def _continued(rng: np.random.Generator, plan: Plan, duration_s: float) -> Plan:
    """A plan, and from its end random places above the objects until the time is over."""
    end_s = float(plan.times_s[-1])
    legs = max(0, int(np.ceil((duration_s - end_s) / WANDER_S - 1e-6)))
    times = np.concatenate([plan.times_s, end_s + WANDER_S * np.arange(1, legs + 1)])
    return Plan(plan.instruction, times, np.stack([*plan.points, *(_hover(rng) for _ in range(legs))]))


def _tool(rng: np.random.Generator) -> np.ndarray:
    """A slight random tilt, some yaw, and an opening."""
    return np.array([*rng.normal(0, 0.08, 2).clip(-0.2, 0.2), rng.uniform(-0.6, 0.6), rng.choice([0.0, 0.0, 1.0])])


def _hover(rng: np.random.Generator) -> np.ndarray:
    """A resting place above the table."""
    position = [rng.uniform(0.3, 0.6), rng.uniform(-0.25, 0.25), rng.uniform(0.12, 0.24)]
    return np.concatenate([position, _tool(rng)])


def push(rng: np.random.Generator, things: Sequence[Target], view: np.ndarray, duration_s: float) -> Plan:
    """Approach one object from behind, lower, push it along one of four directions, lift."""
    away = view[:2, 2] / np.linalg.norm(view[:2, 2])
    right = view[:2, 0] / np.linalg.norm(view[:2, 0])
    options = []
    for thing in things:
        for words, (to_right, to_away) in DIRECTIONS.items():
            direction = to_right * right + to_away * away
            ends = thing.position[:2] + np.outer([-0.1, 0.16], direction)
            inside = (ends >= [REACH_X_M[0], REACH_Y_M[0]]) & (ends <= [REACH_X_M[1], REACH_Y_M[1]])
            if inside.all():
                options.append((thing, words, direction))
    if not options:
        return wander(rng, duration_s)
    thing, words, direction = options[rng.integers(len(options))]
    length = rng.uniform(0.11, 0.17)
    before, after = thing.position[:2] - direction * 0.085, thing.position[:2] + direction * (length - 0.055)
    yaw = np.arctan2(direction[1], direction[0])
    yaw = (yaw + np.pi / 2) % np.pi - np.pi / 2  # the hand is symmetric: turn at most a quarter
    tilt = rng.normal(0, 0.06, 2).clip(-0.15, 0.15)
    tool = np.array([*tilt, yaw, 0.0])
    low = [np.concatenate([spot, [PUSH_HEIGHT_M], tool]) for spot in (before, after)]
    above = low[0] + np.array([0, 0, rng.uniform(0.07, 0.11), 0, 0, 0, 0])
    points = np.stack([_start_near(rng, above), above, low[0], low[1], _lifted(rng, low[1], direction)])
    parts = np.array([rng.uniform(0.5, 0.9), 0.4, rng.uniform(1.1, 1.4), rng.uniform(0.5, 0.9)])
    times = np.concatenate([[0], np.cumsum(parts) / parts.sum()]) * duration_s
    return Plan(f"push the {thing.name} {words}", times, points)


def _start_near(rng: np.random.Generator, above: np.ndarray) -> np.ndarray:
    """A hover within a comfortable distance of the approach."""
    start = _hover(rng)
    step = start[:2] - above[:2]
    reach = float(np.linalg.norm(step))
    start[:2] = above[:2] + step * min(1.0, 0.22 / max(reach, 1e-6))
    return start


def _lifted(rng: np.random.Generator, low: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Back off a little and up, after a push."""
    end = low.copy()
    end[:2] -= direction * rng.uniform(0.02, 0.06)
    end[2] += rng.uniform(0.06, 0.12)
    return end


def wander(rng: np.random.Generator, duration_s: float) -> Plan:
    """Move between random places above the objects."""
    points = np.stack([_hover(rng) for _ in range(4)])
    return Plan("move around above the table", np.linspace(0, duration_s, 4), points)


def still(rng: np.random.Generator, duration_s: float) -> Plan:
    """Keep still."""
    return Plan("keep still", np.array([0.0, duration_s]), np.repeat(_hover(rng)[None], 2, axis=0))
