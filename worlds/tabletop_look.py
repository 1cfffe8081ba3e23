"""The two looks of the tabletop: surfaces, colours, light, camera placement."""

from dataclasses import dataclass

import numpy as np

from worlds import textures
from worlds.arm import ArmColours
from worlds.cameras import look_at
from worlds.scene import BOX, CYLINDER, Scene

WOODS = ((0.72, 0.52, 0.33), (0.58, 0.38, 0.22), (0.82, 0.66, 0.46), (0.45, 0.29, 0.18))
SOFT = ((0.86, 0.82, 0.74), (0.75, 0.8, 0.82), (0.82, 0.76, 0.68), (0.7, 0.78, 0.72), (0.85, 0.84, 0.82))
ARMS = (
    ArmColours(link=(0.88, 0.88, 0.86), joint=(0.3, 0.32, 0.36)),
    ArmColours(link=(0.92, 0.55, 0.12), joint=(0.2, 0.2, 0.22)),
    ArmColours(link=(0.55, 0.6, 0.66), joint=(0.2, 0.24, 0.3)),
)
HELDOUT_ARM = ArmColours(link=(0.10, 0.42, 0.46), joint=(0.95, 0.45, 0.1), finger=(0.9, 0.9, 0.9))


@dataclass(frozen=True, kw_only=True)
class Look:
    """Everything about an episode's appearance but the objects."""

    surface: str
    """Word for the table in the caption."""
    table: np.ndarray
    repeat: tuple[float, float]
    floor: np.ndarray
    wall: np.ndarray
    arm: ArmColours
    sun: np.ndarray
    """Direction the light travels."""
    sun_colour: np.ndarray
    ambient: np.ndarray
    fovy_deg: float
    """Vertical field of view."""


def draw(rng: np.random.Generator, look: str) -> Look:
    """Draw an appearance."""
    return _heldout(rng) if look == "heldout" else _base(rng)


def _base(rng: np.random.Generator) -> Look:
    soft = SOFT[rng.integers(len(SOFT))]
    wood = WOODS[rng.integers(len(WOODS))]
    surface, table, repeat = [
        ("wooden", textures.wood(rng, wood, planks=5), (1.0, 1.0)),
        ("wooden", textures.wood(rng, wood, planks=3), (1.0, 1.0)),
        ("white", textures.plaster(rng, (0.88, 0.87, 0.84), 0.15), (1.0, 1.0)),
        ("tiled", textures.tiles(rng, soft, (0.5, 0.48, 0.45)), (2.0, 2.0)),
        ("checkered", textures.checker(rng, soft, rng.uniform(0.35, 0.6) * np.array(soft)), (1.5, 1.5)),
    ][rng.integers(5)]
    wall_colour = np.array(SOFT[rng.integers(len(SOFT))]) * rng.uniform(0.7, 1)
    wall = [
        textures.plaster(rng, wall_colour, 0.15),
        textures.stripes(rng, wall_colour, wall_colour * 0.85, 8),
        textures.brick(rng, (0.62, 0.36, 0.28), (0.75, 0.72, 0.68)),
        textures.gradient(rng, wall_colour, wall_colour * 0.7),
    ][rng.integers(4)]
    floor = [
        textures.wood(rng, WOODS[rng.integers(len(WOODS))], 8),
        textures.tiles(rng, wall_colour * 0.9, wall_colour * 0.5),
        textures.plaster(rng, rng.uniform(0.3, 0.6) * np.ones(3)),
    ][rng.integers(3)]
    azimuth = rng.uniform(-1.3, 1.3)
    warmth = rng.uniform(-0.08, 0.08)
    return Look(
        surface=surface, table=table, repeat=repeat, floor=floor, wall=wall, arm=ARMS[rng.integers(len(ARMS))],
        sun=np.array([-0.6 * np.cos(azimuth), 0.6 * np.sin(azimuth), -1.0]),
        sun_colour=rng.uniform(0.55, 0.75) * np.array([1 + warmth, 1, 1 - warmth]),
        ambient=rng.uniform(0.28, 0.38) * np.ones(3), fovy_deg=42.0,
    )  # fmt: skip


def _heldout(rng: np.random.Generator) -> Look:
    steel = textures.brushed(rng, np.array([0.34, 0.38, 0.43]) * rng.uniform(0.85, 1.2))
    glow = (0.10, 0.45, 0.52) if rng.random() < 0.5 else (0.85, 0.42, 0.12)
    return Look(
        surface="steel", table=steel, repeat=(1.0, 1.0), arm=HELDOUT_ARM,
        floor=textures.speckle(rng, (0.10, 0.11, 0.14), (0.20, 0.22, 0.26)),
        wall=textures.gradient(rng, np.array(glow) * rng.uniform(0.8, 1.1), np.array([0.08, 0.09, 0.14])),
        sun=np.array([rng.uniform(0.05, 0.25), rng.uniform(0.4, 0.9), -1.0]),
        sun_colour=rng.uniform(0.7, 0.85) * np.array([1.0, 0.72, 0.45]),
        ambient=rng.uniform(0.9, 1.1) * np.array([0.26, 0.38, 0.43]), fovy_deg=42.0,
    )  # fmt: skip


def viewpoint(rng: np.random.Generator, look: str) -> np.ndarray:
    """world_from_camera [4, 4]. Base: across the table, facing the arm. Held out: higher, from the arm's right."""
    target = np.array([0.40, 0, 0.05]) + rng.normal(0, 0.012, 3)
    azimuth = rng.normal(0, 0.10) if look == "base" else rng.normal(-1.15, 0.10)
    elevation = rng.normal(0.66, 0.04) if look == "base" else rng.normal(0.92, 0.04)
    distance = rng.normal(1.12, 0.03)
    ray = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    return look_at(target + distance * ray, target)


def build(scene: Scene, look: Look) -> None:
    """Table, legs, floor, walls and light."""
    table = scene.material(look.table, repeat=look.repeat, specular=0.2)
    scene.part(BOX, (0.46, 0.62, 0.02), (0.32, 0, -0.02), table, collides=(1, 0))
    legs = scene.material(rgba=(0.25, 0.22, 0.2, 1))
    for x in (-0.08, 0.72):
        for y in (-0.56, 0.56):
            scene.part(CYLINDER, (0.025, 0.34), (x, y, -0.38), legs)
    scene.part(BOX, (3, 3, 0.02), (0.4, 0, -0.74), scene.material(look.floor, repeat=(5, 5)))
    wall = scene.material(look.wall, repeat=(2, 1))
    scene.panel((-0.75, 0, 0.4), (1, 0, 0), (3, 1.16), wall)
    scene.panel((0, 1.9, 0.4), (0, -1, 0), (3, 1.16), wall)
    scene.light(look.sun, look.sun_colour, look.ambient)
