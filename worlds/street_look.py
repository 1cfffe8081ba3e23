"""The two looks of the street: ground, sky, light and the palettes of houses, trees and cars."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worlds import textures
from worlds.scene import BOX, Scene

if TYPE_CHECKING:
    from worlds.street import Road

SKIES = (
    ("sunny street", (0.80, 0.88, 0.95), (0.30, 0.52, 0.86)),
    ("cloudy street", (0.82, 0.84, 0.86), (0.58, 0.64, 0.72)),
    ("street in the evening", (0.96, 0.76, 0.56), (0.40, 0.44, 0.66)),
)
WALLS = ((0.80, 0.74, 0.62), (0.86, 0.84, 0.80), (0.72, 0.52, 0.42), (0.66, 0.70, 0.72), (0.85, 0.72, 0.48))
ROOFS = ((0.55, 0.24, 0.18), (0.30, 0.28, 0.30), (0.45, 0.32, 0.22))
CARS = (
    (0.75, 0.12, 0.12),
    (0.15, 0.25, 0.60),
    (0.85, 0.85, 0.87),
    (0.15, 0.15, 0.17),
    (0.55, 0.58, 0.6),
    (0.8, 0.65, 0.15),
)
LEAVES = ((0.10, 0.28, 0.10), (0.38, 0.58, 0.22))
AUTUMN = ((0.45, 0.18, 0.06), (0.90, 0.55, 0.15))


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colours and light of one street."""

    words: str
    horizon: np.ndarray
    zenith: np.ndarray
    walls: tuple[tuple[float, ...], ...]
    roofs: tuple[tuple[float, ...], ...]
    cars: tuple[tuple[float, ...], ...]
    leaves: tuple[tuple[float, ...], ...]
    grass: np.ndarray
    asphalt: float
    yellow_line: bool
    sun: np.ndarray
    sun_colour: np.ndarray
    ambient: np.ndarray


def draw(rng: np.random.Generator, look: str) -> Look:
    """Draw an appearance."""
    azimuth = rng.uniform(-np.pi, np.pi)
    sun = np.array([0.7 * np.cos(azimuth), 0.7 * np.sin(azimuth), -1.0])
    if look == "heldout":
        return Look(
            words="snowy street at dusk", horizon=np.array([0.80, 0.52, 0.58]), zenith=np.array([0.16, 0.16, 0.36]),
            walls=((0.35, 0.42, 0.55), (0.52, 0.34, 0.46), (0.30, 0.45, 0.45)), roofs=((0.88, 0.90, 0.95),),
            cars=((0.1, 0.65, 0.65), (0.95, 0.5, 0.1), (0.85, 0.3, 0.6)), leaves=AUTUMN,
            grass=textures.speckle(rng, (0.78, 0.80, 0.88), (0.92, 0.93, 0.97)), asphalt=0.22, yellow_line=True,
            sun=sun, sun_colour=rng.uniform(0.4, 0.5) * np.array([1.0, 0.75, 0.9]),
            ambient=rng.uniform(0.38, 0.45) * np.array([0.85, 0.85, 1.15]),
        )  # fmt: skip
    words, horizon, zenith = SKIES[rng.integers(len(SKIES))]
    tint = {"sunny street": (1, 0.97, 0.9), "cloudy street": (0.7, 0.72, 0.75)}.get(words, (1.0, 0.78, 0.55))
    return Look(
        words=words, horizon=np.array(horizon), zenith=np.array(zenith), walls=WALLS, roofs=ROOFS, cars=CARS,
        leaves=LEAVES, grass=textures.speckle(rng, (0.24, 0.40, 0.16), (0.42, 0.55, 0.26)),
        asphalt=float(rng.uniform(0.32, 0.46)), yellow_line=bool(rng.random() < 0.3), sun=sun,
        sun_colour=rng.uniform(0.55, 0.7) * np.array(tint), ambient=rng.uniform(0.38, 0.46) * np.ones(3),
    )  # fmt: skip


def build(scene: Scene, look: Look, road: "Road", lane_m: float, rng: np.random.Generator) -> None:
    """Sky, sun, grass, asphalt with markings, kerbs and pavements."""
    scene.sky(look.horizon, look.zenith)
    scene.light(look.sun, look.sun_colour, look.ambient)
    scene.part(BOX, (220, 220, 0.5), (30, 0, -0.6), scene.material(look.grass, repeat=(60, 60), specular=0.0))
    width = 2 * lane_m + 1.0
    asphalt = scene.material(
        textures.road(rng, look.asphalt, width, lane_m, look.yellow_line), repeat=(1, 1), specular=0.05
    )
    along = road.s[::4] / 6.0
    scene.strip(road.edge(-width / 2, 0.0), road.edge(width / 2, 0.0), along, asphalt)
    pavement = scene.material(
        textures.tiles(rng, (0.66, 0.64, 0.61), (0.45, 0.44, 0.42), 2), repeat=(1, 1), specular=0.0
    )
    kerb = scene.material(rgba=(0.75, 0.74, 0.72, 1), specular=0.0)
    for side in (-1, 1):
        near, far = side * width / 2, side * (width / 2 + 2.2)
        low, high = sorted((near, far))
        scene.strip(road.edge(low, 0.12), road.edge(high, 0.12), along * 2.0, pavement)
        face = (road.edge(near, 0.12), road.edge(near, -0.02))
        scene.strip(*(face if side < 0 else face[::-1]), along, kerb)
