"""The two looks of the rooms: walls, floor, palette and light."""

from dataclasses import dataclass

import numpy as np

from worlds import textures
from worlds.scene import BOX, Scene

HEIGHT_M = 2.6
WALLS = ((0.88, 0.85, 0.76), (0.72, 0.80, 0.82), (0.80, 0.72, 0.62), (0.70, 0.78, 0.66), (0.86, 0.76, 0.72))
WOODS = ((0.70, 0.50, 0.32), (0.55, 0.36, 0.22), (0.80, 0.64, 0.45), (0.42, 0.28, 0.18))
FABRICS = ((0.65, 0.18, 0.16), (0.18, 0.32, 0.55), (0.25, 0.45, 0.28), (0.78, 0.62, 0.25), (0.45, 0.42, 0.42))
FABRIC_WORDS = ("red", "blue", "green", "yellow", "grey")
HELDOUT_WALLS = ((0.20, 0.24, 0.34), (0.30, 0.18, 0.30), (0.14, 0.30, 0.30))
HELDOUT_FABRICS = ((0.95, 0.50, 0.12), (0.15, 0.75, 0.75), (0.90, 0.25, 0.55))
HELDOUT_WORDS = ("orange", "cyan", "pink")


@dataclass(frozen=True, kw_only=True)
class Look:
    """Textures and colours of one room."""

    words: str
    """The floor, for the caption."""
    floor: np.ndarray
    floor_repeat: float
    walls: tuple[np.ndarray, ...]
    """Four images: +x, -x, +y, -y wall."""
    ceiling: np.ndarray
    wood: np.ndarray
    fabrics: tuple[tuple[float, ...], ...]
    fabric_words: tuple[str, ...]
    lamp_colour: np.ndarray
    ambient: np.ndarray


def draw(rng: np.random.Generator, look: str) -> Look:
    """Draw an appearance."""
    heldout = look == "heldout"
    palette = HELDOUT_WALLS if heldout else WALLS
    colour = np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.85, 1.1)
    wood = np.array(WOODS[rng.integers(len(WOODS))])
    if heldout:
        wood = np.array([0.25, 0.25, 0.28])
    words, floor, repeat = _floor(rng, colour, wood, heldout)
    feature = _feature_wall(rng, colour, heldout)
    plain = textures.plaster(rng, np.clip(colour, 0, 1), 0.12)
    walls = [plain] * 4
    walls[rng.integers(4)] = feature
    tint = np.array([0.75, 0.9, 1.15]) if heldout else np.array([1.05, 1, 0.93]) ** rng.uniform(-1, 1.5)
    order = rng.permutation(len(HELDOUT_FABRICS if heldout else FABRICS))
    fabrics, fabric_words = (HELDOUT_FABRICS, HELDOUT_WORDS) if heldout else (FABRICS, FABRIC_WORDS)
    return Look(
        words=words, floor=floor, floor_repeat=repeat, walls=tuple(walls),
        ceiling=textures.plaster(rng, (0.3, 0.3, 0.36) if heldout else (0.92, 0.91, 0.88), 0.06), wood=wood,
        fabrics=tuple(fabrics[i] for i in order), fabric_words=tuple(fabric_words[i] for i in order),
        lamp_colour=rng.uniform(0.55, 0.75) * tint, ambient=rng.uniform(0.36, 0.46) * np.ones(3),
    )  # fmt: skip


def _floor(
    rng: np.random.Generator, wall: np.ndarray, wood: np.ndarray, heldout: bool
) -> tuple[str, np.ndarray, float]:
    if heldout:
        return "a dark floor", textures.tiles(rng, (0.22, 0.22, 0.25), (0.6, 0.35, 0.1), 2), 3.0
    kind = rng.integers(4)
    if kind == 0:
        return "a tiled floor", textures.tiles(rng, (0.8, 0.77, 0.7), (0.45, 0.42, 0.4)), 2.0
    if kind == 1:
        return "a checkered floor", textures.checker(rng, (0.85, 0.83, 0.78), wall * 0.4), 1.8
    return "a wooden floor", textures.wood(rng, wood, 6), 2.0


def _feature_wall(rng: np.random.Generator, colour: np.ndarray, heldout: bool) -> np.ndarray:
    if heldout:
        return textures.stripes(rng, colour, np.clip(colour * 1.8, 0, 1), 3)
    kind = rng.integers(3)
    if kind == 0:
        return textures.brick(rng, (0.66, 0.38, 0.3), (0.78, 0.75, 0.7), 10)
    if kind == 1:
        return textures.stripes(rng, colour, colour * 0.8, 6)
    return textures.gradient(rng, colour, colour * 0.6)


def build(scene: Scene, look: Look, half: np.ndarray, rng: np.random.Generator) -> None:
    """Floor, walls, ceiling, skirting boards and light."""
    x, y = half
    floor = scene.material(look.floor, repeat=(look.floor_repeat, look.floor_repeat), specular=0.15)
    scene.part(BOX, (x, y, 0.02), (0, 0, -0.02), floor)
    middle = HEIGHT_M / 2
    sides = (((x, 0), (-1, 0), y), ((-x, 0), (1, 0), y), ((0, y), (0, -1), x), ((0, -y), (0, 1), x))
    skirting = scene.material(rgba=(*(np.clip(look.wood * 1.15, 0, 1)), 1))
    for image, ((px, py), (nx, ny), width) in zip(look.walls, sides, strict=True):
        wall = scene.material(image, repeat=(2, 1), specular=0.0)
        scene.wall((px, py, middle), (nx, ny, 0), (width, middle), wall)
        scene.panel((px + 0.01 * nx, py + 0.01 * ny, 0.06), (nx, ny, 0), (width, 0.06), skirting)
    scene.ceiling((0, 0, HEIGHT_M), (x, y), scene.material(look.ceiling, repeat=(2, 2), specular=0.0))
    scene.lamp((*rng.uniform(-0.6, 0.6, 2), HEIGHT_M - 0.1), look.lamp_colour, look.ambient)
