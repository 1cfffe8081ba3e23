"""Houses, trees, lamp posts and cars along a street."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from worlds import textures
from worlds.cameras import rotation_x, rotation_z
from worlds.scene import BOX, CYLINDER, ELLIPSOID, Scene, quaternion
from worlds.street_look import Look

if TYPE_CHECKING:
    from worlds.street import Road

PAVEMENT_EDGE_M = 6.4
BEHIND_M, AHEAD_M = -22.0, 85.0


def line_street(scene: Scene, look: Look, road: "Road", rng: np.random.Generator) -> None:
    """Fill both sides: houses behind gardens, trees and lamp posts, parked cars on the verge."""
    leaves = [
        scene.material(textures.speckle(rng, look.leaves[0], look.leaves[1], 6), specular=0.0),
        scene.material(textures.speckle(rng, look.leaves[0], np.array(look.leaves[1]) * 0.75, 6), specular=0.0),
    ]
    trunk = scene.material(rgba=(0.36, 0.25, 0.16, 1), specular=0.0)
    fronts = [_house_materials(scene, look, rng) for _ in range(4)]
    for side in (-1, 1):
        s = BEHIND_M + rng.uniform(0, 6)
        while s < AHEAD_M:
            width = rng.uniform(7, 11)
            if rng.random() < 0.8:
                _house(scene, fronts[rng.integers(len(fronts))], road, s + width / 2, side, width, rng)
            s += width + rng.uniform(1.5, 6)
        s = BEHIND_M + rng.uniform(0, 8)
        while s < AHEAD_M:
            kind = rng.random()
            if kind < 0.5:
                _tree(scene, leaves[rng.integers(2)], trunk, road, s, side, rng)
            elif kind < 0.68:
                _lamp_post(scene, road, s, side)
            elif kind < 0.9 and s < 50:
                ground, heading = road.at(s, side * 8.0)
                _parked(scene, look, ground, heading, side, rng)
            s += rng.uniform(5, 10)


@dataclass(frozen=True)
class HouseMaterials:
    """A front with windows, a plain wall, a roof."""

    front: str
    wall: str
    roof: str


def _house_materials(scene: Scene, look: Look, rng: np.random.Generator) -> HouseMaterials:
    colour = np.array(look.walls[rng.integers(len(look.walls))]) * rng.uniform(0.85, 1.1)
    wall = textures.plaster(rng, colour, 0.1)
    if rng.random() < 0.35:
        wall = textures.brick(rng, colour * 0.9, np.clip(colour * 1.25, 0, 1), 12)
    floors, columns = int(rng.integers(2, 4)), int(rng.integers(3, 5))
    front = textures.facade(rng, wall, floors, columns, rng.choice([0.95, 0.3]) * np.ones(3))
    roof = look.roofs[rng.integers(len(look.roofs))]
    return HouseMaterials(
        scene.material(front, repeat=(1, 1), specular=0.0),
        scene.material(rgba=(*np.clip(colour, 0, 1), 1), specular=0.0),
        scene.material(textures.stripes(rng, roof, np.array(roof) * 0.75, 6), specular=0.0),
    )


def _house(
    scene: Scene, made_of: HouseMaterials, road: "Road", s: float, side: int, width: float, rng: np.random.Generator
) -> None:
    """A block with windows on three sides and a gabled roof, its ridge along the street."""
    depth, height = rng.uniform(6, 9), rng.uniform(4.5, 8)
    ground, heading = road.at(s, side * (PAVEMENT_EDGE_M + rng.uniform(4.5, 7) + depth / 2))
    turn, base = rotation_z(heading), np.array([*ground, 0])
    half = np.array([width, depth, height]) / 2
    scene.part(BOX, half, base + [0, 0, height / 2], made_of.wall, rotation=turn)
    for normal, run, reach in (
        ((0, -side, 0), half[0], half[1]),
        ((1, 0, 0), half[1], half[0]),
        ((-1, 0, 0), half[1], half[0]),
    ):
        centre = base + turn @ (np.array(normal) * (reach + 0.02)) + [0, 0, height / 2]
        scene.panel(centre, turn @ np.array(normal, float), (run, height / 2), made_of.front)
    slope = 0.6
    eaves = half[1] + 0.4
    for facing in (-1, 1):
        tilt = rotation_x(-facing * np.arctan(slope))
        middle = np.array([0, facing * eaves / 2, height + slope * half[1] / 2 - 0.05])
        size = (half[0] + 0.3, np.hypot(eaves, slope * eaves) / 2, 0.08)
        scene.part(BOX, size, base + turn @ middle, made_of.roof, rotation=turn @ tilt)
    gable = slope * half[1] / 2
    scene.part(
        BOX, (half[0] - 0.05, half[1] / 2, gable / 2), base + [0, 0, height + gable / 2], made_of.wall, rotation=turn
    )


def _tree(scene: Scene, leaves: str, trunk: str, road: "Road", s: float, side: int, rng: np.random.Generator) -> None:
    ground, _ = road.at(s, side * (PAVEMENT_EDGE_M + rng.uniform(0.8, 3)))
    height, radius = rng.uniform(1.6, 2.6), rng.uniform(1.1, 1.9)
    scene.part(CYLINDER, (0.16, height / 2), (*ground, height / 2), trunk)
    scene.part(ELLIPSOID, (radius, radius, radius * 1.25), (*ground, height + radius), leaves)
    if rng.random() < 0.5:
        top = (*(ground + rng.uniform(-0.4, 0.4, 2)), height + radius * 2.0)
        scene.part(ELLIPSOID, (radius * 0.7, radius * 0.7, radius * 0.8), top, leaves)


def _lamp_post(scene: Scene, road: "Road", s: float, side: int) -> None:
    ground, heading = road.at(s, side * 5.2)
    grey = scene.material(rgba=(0.35, 0.37, 0.38, 1))
    scene.part(CYLINDER, (0.08, 2.4), (*ground, 2.4), grey)
    arm, _ = road.at(s, side * 4.5)
    scene.part(BOX, (0.08, 0.75, 0.06), (*arm, 4.8), grey, yaw_rad=heading)


def _parked(scene: Scene, look: Look, ground: np.ndarray, heading: float, side: int, rng: np.random.Generator) -> None:
    body = scene.world.add_body(pos=[*ground, 0.0], quat=quaternion(rotation_z(heading + (np.pi if side > 0 else 0))))
    add_car(scene, body, look, rng)


def add_car(scene: Scene, body: Any, look: Look, rng: np.random.Generator) -> None:
    """A car on `body`: x forward, origin on the ground below its middle."""
    paint = scene.material(rgba=(*look.cars[rng.integers(len(look.cars))], 1), specular=0.6)
    glass = scene.material(rgba=(0.16, 0.20, 0.26, 1), specular=0.8)
    black = scene.material(rgba=(0.08, 0.08, 0.08, 1), specular=0.1)
    red, white = (scene.material(rgba=(*c, 1), emission=0.6) for c in ((0.8, 0.08, 0.05), (1, 0.97, 0.85)))
    scene.part(BOX, (2.05, 0.88, 0.30), (0, 0, 0.62), paint, body=body)
    scene.part(BOX, (1.10, 0.78, 0.24), (-0.25, 0, 1.12), glass, body=body)
    scene.part(BOX, (0.95, 0.74, 0.04), (-0.28, 0, 1.39), paint, body=body)
    across = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    for x in (-1.3, 1.3):
        for y in (-0.8, 0.8):
            scene.part(CYLINDER, (0.33, 0.12), (x, y, 0.33), black, rotation=across, body=body)
    for y in (-0.62, 0.62):
        scene.part(BOX, (0.03, 0.18, 0.08), (-2.05, y, 0.72), red, body=body)
        scene.part(BOX, (0.03, 0.18, 0.08), (2.05, y, 0.66), white, body=body)
