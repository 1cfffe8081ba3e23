"""Furniture from boxes, cylinders and spheres, arranged along the walls and around the middle of a room."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from worlds import textures
from worlds.cameras import rotation_z
from worlds.room_look import Look
from worlds.scene import BOX, CYLINDER, ELLIPSOID, SPHERE, Scene


@dataclass(frozen=True)
class Footprint:
    """The ground that a piece covers: an oriented rectangle."""

    centre: np.ndarray
    half: np.ndarray
    yaw_rad: float

    def covers(self, points_N2: np.ndarray, margin_m: float) -> np.ndarray:
        """Which points lie on the footprint grown by a margin."""
        local = (points_N2 - self.centre) @ rotation_z(self.yaw_rad)[:2, :2]
        return (np.abs(local) < self.half + margin_m).all(-1)


class Place:
    """Local coordinates of a piece: x to its left, y out of the wall (its front), z up."""

    def __init__(self, scene: Scene, centre: np.ndarray, yaw_rad: float) -> None:
        self.scene, self.centre, self.yaw_rad = scene, centre, yaw_rad

    def put(self, kind: object, size: tuple[float, ...], at: tuple[float, float, float], material: str) -> None:
        """Add a shape at local coordinates."""
        ground = self.centre + rotation_z(self.yaw_rad)[:2, :2] @ np.array(at[:2])
        self.scene.part(kind, size, (*ground, at[2]), material, yaw_rad=self.yaw_rad)


def sofa(place: Place, look: Look, rng: np.random.Generator) -> str:
    """Seat, back, arm rests and cushions."""
    pick = rng.integers(2)
    cloth = place.scene.material(textures.plaster(rng, look.fabrics[pick], 0.2), specular=0.0)
    cushion = place.scene.material(rgba=(*look.fabrics[(pick + 1) % len(look.fabrics)], 1))
    place.put(BOX, (0.85, 0.40, 0.20), (0, 0, 0.22), cloth)
    place.put(BOX, (0.85, 0.10, 0.25), (0, -0.32, 0.62), cloth)
    for side in (-1, 1):
        place.put(BOX, (0.10, 0.40, 0.14), (side * 0.78, 0, 0.5), cloth)
        place.put(BOX, (0.16, 0.07, 0.15), (side * 0.42, -0.15, 0.57), cushion)
    return f"a {look.fabric_words[pick]} sofa"


def bookshelf(place: Place, look: Look, rng: np.random.Generator) -> str:
    """A tall shelf with a front of books."""
    body = place.scene.material(textures.wood(rng, look.wood * 0.9, 3))
    front = place.scene.material(textures.books(rng, np.clip(look.wood, 0, 1)), repeat=(1, 1))
    place.put(BOX, (0.55, 0.16, 0.95), (0, 0, 0.95), body)
    ground = place.centre + rotation_z(place.yaw_rad)[:2, :2] @ np.array([0, 0.165])
    normal = rotation_z(place.yaw_rad)[:, 1]
    place.scene.panel((*ground, 0.95), normal, (0.54, 0.94), front)
    return "a bookshelf"


def cabinet(place: Place, look: Look, rng: np.random.Generator) -> str:
    """A low cabinet with two doors, a vase and a box on it."""
    wood = place.scene.material(textures.wood(rng, look.wood, 2))
    dark = place.scene.material(rgba=(*(look.wood * 0.6), 1))
    place.put(BOX, (0.6, 0.22, 0.38), (0, 0, 0.40), wood)
    place.put(BOX, (0.012, 0.01, 0.34), (0, 0.22, 0.40), dark)
    vase = place.scene.material(rgba=(*look.fabrics[2], 1), specular=0.6)
    place.put(CYLINDER, (0.08, 0.14), (rng.uniform(0.1, 0.4), 0, 0.92), vase)
    place.put(
        BOX,
        (0.14, 0.1, 0.07),
        (rng.uniform(-0.4, -0.15), 0, 0.85),
        place.scene.material(rgba=(*rng.uniform(0.2, 0.9, 3), 1)),
    )
    return "a cabinet"


def bed(place: Place, look: Look, rng: np.random.Generator) -> str:
    """Frame, mattress, blanket, pillows."""
    pick = rng.integers(len(look.fabrics))
    wood = place.scene.material(textures.wood(rng, look.wood, 3))
    blanket = place.scene.material(
        textures.stripes(rng, look.fabrics[pick], np.clip(np.array(look.fabrics[pick]) * 1.35, 0, 1), 3)
    )
    white = place.scene.material(rgba=(0.93, 0.93, 0.9, 1))
    place.put(BOX, (0.72, 0.95, 0.16), (0, 0, 0.18), wood)
    place.put(BOX, (0.72, 0.05, 0.5), (0, -0.93, 0.5), wood)
    place.put(BOX, (0.68, 0.90, 0.10), (0, 0.02, 0.42), white)
    place.put(BOX, (0.71, 0.62, 0.09), (0, 0.32, 0.46), blanket)
    for side in (-1, 1):
        place.put(ELLIPSOID, (0.26, 0.18, 0.09), (side * 0.34, -0.62, 0.57), white)
    return f"a bed with a {look.fabric_words[pick]} blanket"


def lamp(place: Place, look: Look, rng: np.random.Generator) -> str:
    """A floor lamp with a glowing shade."""
    pole = place.scene.material(rgba=(0.2, 0.2, 0.22, 1), specular=0.5)
    shade = place.scene.material(rgba=(1.0, 0.85, rng.uniform(0.5, 0.75), 1), emission=0.6)
    place.put(CYLINDER, (0.16, 0.02), (0, 0, 0.02), pole)
    place.put(CYLINDER, (0.02, 0.7), (0, 0, 0.7), pole)
    place.put(CYLINDER, (0.19, 0.15), (0, 0, 1.5), shade)
    return "a floor lamp"


def plant(place: Place, look: Look, rng: np.random.Generator) -> str:
    """A pot with leaves."""
    pot = place.scene.material(rgba=(*look.fabrics[1], 1), specular=0.4)
    leaves = place.scene.material(textures.speckle(rng, (0.10, 0.30, 0.12), (0.35, 0.62, 0.25), 8), specular=0.0)
    place.put(CYLINDER, (0.17, 0.17), (0, 0, 0.17), pot)
    place.put(ELLIPSOID, (0.24, 0.24, 0.34), (0, 0, 0.66), leaves)
    place.put(SPHERE, (0.17,), (0.1, 0.08, 1.0), leaves)
    return "a plant"


def table(place: Place, look: Look, rng: np.random.Generator) -> str:
    """A table with four legs, two stools and things on it."""
    wood = place.scene.material(textures.wood(rng, look.wood * 1.05, 3))
    cloth = place.scene.material(rgba=(*look.fabrics[rng.integers(len(look.fabrics))], 1))
    place.put(BOX, (0.55, 0.38, 0.025), (0, 0, 0.70), wood)
    for x in (-0.48, 0.48):
        for y in (-0.31, 0.31):
            place.put(BOX, (0.03, 0.03, 0.34), (x, y, 0.34), wood)
    for y in (-0.55, 0.55):
        place.put(CYLINDER, (0.17, 0.03), (0, y, 0.44), cloth)
        place.put(CYLINDER, (0.04, 0.21), (0, y, 0.21), wood)
    place.put(
        ELLIPSOID,
        (0.14, 0.14, 0.06),
        (0, 0, 0.78),
        place.scene.material(rgba=(*rng.uniform(0.3, 0.95, 3), 1), specular=0.5),
    )
    return "a table"


Maker = Callable[[Place, Look, np.random.Generator], str]
ALONG_WALL: tuple[tuple[Maker, float, float], ...] = (
    (sofa, 0.90, 0.42), (bookshelf, 0.58, 0.19), (cabinet, 0.62, 0.24), (bed, 0.75, 1.0),
    (lamp, 0.22, 0.22), (plant, 0.28, 0.28), (bookshelf, 0.58, 0.19), (cabinet, 0.62, 0.24), (plant, 0.28, 0.28),
)  # fmt: skip
"""Maker, half width along the wall, half depth, in m."""


def furnish(scene: Scene, look: Look, half: np.ndarray, rng: np.random.Generator) -> tuple[list[str], list[Footprint]]:
    """Place furniture, a rug, pictures and a window; names for the caption and footprints for the path."""
    names: list[str] = []
    taken: list[Footprint] = []
    for pick in rng.permutation(len(ALONG_WALL)):
        maker, width, depth = ALONG_WALL[pick]
        for _ in range(8):
            spot = _against_wall(rng, half, width, depth)
            if _is_free(spot, taken):
                names.append(maker(Place(scene, spot.centre, spot.yaw_rad), look, rng))
                taken.append(spot)
                break
    if rng.random() < 0.6:
        centre = rng.uniform(-0.25, 0.25, 2) * half
        spot = Footprint(centre, np.array([0.6, 0.75]), float(rng.uniform(0, np.pi)))
        if _is_free(spot, taken):
            names.append(table(Place(scene, spot.centre, spot.yaw_rad), look, rng))
            taken.append(spot)
    if rng.random() < 0.7:
        carpet = scene.material(textures.rug(rng, rng.permutation(np.array(look.fabrics))[:3]), repeat=(1, 1))
        scene.part(BOX, (1.1, 0.75, 0.006), (*rng.uniform(-0.4, 0.4, 2), 0.006), carpet, yaw_rad=rng.uniform(0, 3.1))
    _decorate_walls(scene, half, rng)
    return list(dict.fromkeys(names)), taken


def _against_wall(rng: np.random.Generator, half: np.ndarray, width: float, depth: float) -> Footprint:
    """A spot whose back touches a random wall; local y points into the room."""
    side = int(rng.integers(4))
    yaw = side * np.pi / 2
    run, reach = (half[0], half[1]) if side % 2 == 0 else (half[1], half[0])
    local = np.array([rng.uniform(-1, 1) * max(run - width - 0.05, 0.0), -(reach - depth - 0.03)])
    return Footprint(rotation_z(yaw)[:2, :2] @ local, np.array([width, depth]), yaw)


def _is_free(spot: Footprint, taken: list[Footprint]) -> bool:
    """True when no grid point of the spot, grown by 10 cm, lies on another footprint."""
    steps = np.linspace(-1, 1, 7)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2) * (spot.half + 0.1)
    points = spot.centre + grid @ rotation_z(spot.yaw_rad)[:2, :2].T
    return not any(other.covers(points, 0.1).any() for other in taken)


def _decorate_walls(scene: Scene, half: np.ndarray, rng: np.random.Generator) -> None:
    """Two pictures on each wall, or a window."""
    for side in range(4):
        turn = rotation_z(side * np.pi / 2)
        run, reach = (half[0], half[1]) if side % 2 == 0 else (half[1], half[0])
        for slot in (-0.45, 0.45):
            is_window = rng.random() < 0.35
            image = textures.window(rng, rng.uniform(0.5, 0.85, 3)) if is_window else textures.picture(rng)
            material = scene.material(image, repeat=(1, 1), emission=0.12 if is_window else 0.0, specular=0.0)
            size = (0.5, 0.5) if is_window else (rng.uniform(0.24, 0.42), rng.uniform(0.22, 0.34))
            across = slot * run + rng.uniform(-0.25, 0.25)
            centre = turn @ np.array([across, -(reach - 0.012), rng.uniform(1.55, 1.75)])
            scene.panel(centre, turn[:, 1], size, material)
