"""Procedural textures: smooth, low-frequency images that survive a 64-pixel frame.

Every function takes a random generator and colours (RGB in 0..1) and returns float RGB [n, n, 3] in 0..1 that tiles.
"""

from collections.abc import Sequence

import numpy as np

SIZE_PX = 128
"""Edge length of most textures."""

Colour = Sequence[float] | np.ndarray


def noise(rng: np.random.Generator, cells: int, size: int = SIZE_PX, stretch: int = 1) -> np.ndarray:
    """Smooth periodic noise [size, size] in 0..1 with `cells` bumps down and `cells / stretch` bumps across."""
    rows, columns = cells, max(1, cells // stretch)
    grid = rng.random((rows, columns))
    for axis, count in ((0, rows), (1, columns)):
        position = np.arange(size) * count / size
        index = position.astype(int)
        blend = 0.5 - 0.5 * np.cos(np.pi * (position - index))
        low, high = np.take(grid, index, axis), np.take(grid, (index + 1) % count, axis)
        blend = blend[:, None] if axis == 0 else blend[None, :]
        grid = low + (high - low) * blend
    return grid


def fractal(rng: np.random.Generator, cells: int, size: int = SIZE_PX, octaves: int = 3) -> np.ndarray:
    """Sum of noises of halving strength and doubling frequency, in 0..1."""
    weights = 0.5 ** np.arange(octaves)
    layers = np.stack([noise(rng, cells * 2**k, size) for k in range(octaves)])
    return np.tensordot(weights / weights.sum(), layers, 1)


def _mix(first: Colour, second: Colour, weight: np.ndarray) -> np.ndarray:
    return np.asarray(first) + (np.asarray(second) - np.asarray(first)) * weight[..., None]


def _shade(colour: Colour, factor: float) -> np.ndarray:
    return np.clip(np.asarray(colour) * factor, 0, 1)


def _axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    steps = (np.arange(size) + 0.5) / size
    return np.meshgrid(steps, steps, indexing="ij")


def plaster(rng: np.random.Generator, colour: Colour, contrast: float = 0.25) -> np.ndarray:
    """Soft cloudy paint."""
    return _mix(_shade(colour, 1 - contrast), _shade(colour, 1 + contrast * 0.5), fractal(rng, 3))


def wood(rng: np.random.Generator, colour: Colour, planks: int = 4) -> np.ndarray:
    """Planks along the columns with wavy grain; each plank has its own tone."""
    v, _ = _axes(SIZE_PX)
    plank = np.minimum((v * planks).astype(int), planks - 1)
    grain = noise(rng, 16, stretch=8) * 0.6 + noise(rng, 32, stretch=8) * 0.4
    tone = rng.uniform(0.75, 1.1, planks)[plank] * (0.78 + 0.34 * grain)
    seam = np.abs((v * planks) % 1 - 0.5) > 0.46
    return np.clip(np.asarray(colour) * np.where(seam, tone * 0.6, tone)[..., None], 0, 1)


def tiles(rng: np.random.Generator, colour: Colour, grout: Colour, count: int = 4) -> np.ndarray:
    """Square tiles with grout; tones differ a little from tile to tile."""
    v, u = _axes(SIZE_PX)
    row, column = (v * count).astype(int), (u * count).astype(int)
    tone = rng.uniform(0.8, 1.1, (count, count))[row, column] * (0.9 + 0.2 * noise(rng, 6))
    edge = np.maximum(np.abs((v * count) % 1 - 0.5), np.abs((u * count) % 1 - 0.5)) > 0.45
    return np.clip(np.where(edge[..., None], np.asarray(grout), np.asarray(colour) * tone[..., None]), 0, 1)


def brick(rng: np.random.Generator, colour: Colour, mortar: Colour, rows: int = 8) -> np.ndarray:
    """Running-bond brickwork."""
    v, u = _axes(SIZE_PX)
    row = (v * rows).astype(int)
    shifted = (u * rows / 2 + 0.5 * (row % 2)) % (rows / 2)
    column = shifted.astype(int)
    tone = rng.uniform(0.7, 1.15, (rows, rows))[row, column]
    edge = (np.abs((v * rows) % 1 - 0.5) > 0.42) | (np.abs(shifted % 1 - 0.5) > 0.46)
    return np.clip(np.where(edge[..., None], np.asarray(mortar), np.asarray(colour) * tone[..., None]), 0, 1)


def checker(rng: np.random.Generator, first: Colour, second: Colour, count: int = 4) -> np.ndarray:
    """Checkerboard of an even `count` with softly varying tone."""
    v, u = _axes(SIZE_PX)
    odd = ((v * count).astype(int) + (u * count).astype(int)) % 2
    return np.clip(_mix(first, second, odd.astype(float)) * (0.9 + 0.2 * noise(rng, 4))[..., None], 0, 1)


def stripes(rng: np.random.Generator, first: Colour, second: Colour, count: int = 6) -> np.ndarray:
    """Soft-edged vertical stripes."""
    _, u = _axes(SIZE_PX)
    wave = np.clip(0.5 + 1.6 * np.sin(2 * np.pi * u * count), 0, 1)
    return np.clip(_mix(first, second, wave) * (0.92 + 0.16 * noise(rng, 4))[..., None], 0, 1)


def gradient(rng: np.random.Generator, top: Colour, bottom: Colour) -> np.ndarray:
    """Vertical blend; the first row is `top`."""
    v, _ = _axes(SIZE_PX)
    return np.clip(_mix(top, bottom, v) * (0.94 + 0.12 * noise(rng, 4))[..., None], 0, 1)


def brushed(rng: np.random.Generator, colour: Colour) -> np.ndarray:
    """Brushed metal: long streaks along the columns."""
    streaks = noise(rng, 24, stretch=12) * 0.5 + noise(rng, 6, stretch=3) * 0.5
    return np.clip(np.asarray(colour) * (0.7 + 0.6 * streaks)[..., None], 0, 1)


def speckle(rng: np.random.Generator, first: Colour, second: Colour, cells: int = 12) -> np.ndarray:
    """Blotches of two colours: terrazzo, foliage, grass."""
    return _mix(first, second, np.clip((fractal(rng, cells, octaves=2) - 0.3) * 2.2, 0, 1))


def rug(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Nested frames of the given colours [N, 3]."""
    v, u = _axes(SIZE_PX)
    depth = np.minimum(np.minimum(v, 1 - v), np.minimum(u, 1 - u)) * 2
    index = np.minimum((depth * len(colours) * 1.3).astype(int), len(colours) - 1)
    return np.clip(np.asarray(colours)[index] * (0.9 + 0.2 * noise(rng, 6))[..., None], 0, 1)


def picture(rng: np.random.Generator) -> np.ndarray:
    """A framed painting: a sky, a ground and a few discs."""
    v, u = _axes(SIZE_PX)
    image = _mix(rng.uniform(0.4, 1, 3), rng.uniform(0.2, 0.9, 3), v)
    hill = 0.55 + 0.15 * np.sin(2 * np.pi * (u * rng.uniform(0.5, 1.5) + rng.random()))
    image = np.where((v > hill)[..., None], rng.uniform(0.1, 0.8, 3) * (1.2 - 0.5 * v[..., None]), image)
    for _ in range(rng.integers(1, 4)):
        inside = (v - rng.uniform(0.2, 0.8)) ** 2 + (u - rng.uniform(0.2, 0.8)) ** 2 < rng.uniform(0.08, 0.2) ** 2
        image = np.where(inside[..., None], rng.uniform(0.1, 1, 3), image)
    frame = np.maximum(np.abs(v - 0.5), np.abs(u - 0.5)) > 0.43
    return np.clip(np.where(frame[..., None], rng.choice([0.12, 0.9]) * np.array([1, 0.9, 0.75]), image), 0, 1)


def window(rng: np.random.Generator, sky: Colour) -> np.ndarray:
    """A bright window with a cross of white bars, a horizon and greenery below."""
    v, u = _axes(SIZE_PX)
    image = _mix(np.clip(np.asarray(sky) * 1.1, 0, 1), (0.95, 0.97, 1.0), v * 1.3)
    hill = 0.68 + 0.08 * np.sin(2 * np.pi * (u + rng.random()))
    image = np.where((v > hill)[..., None], np.array([0.45, 0.62, 0.38]), image)
    bars = (np.maximum(np.abs(v - 0.5), np.abs(u - 0.5)) > 0.44) | (np.abs(u - 0.5) < 0.03) | (np.abs(v - 0.5) < 0.03)
    return np.clip(np.where(bars[..., None], 0.96, image), 0, 1)


def books(rng: np.random.Generator, wood_colour: Colour, shelves: int = 4) -> np.ndarray:
    """The front of a bookshelf: rows of coloured spines between boards."""
    image = np.ones((SIZE_PX, SIZE_PX, 3)) * _shade(wood_colour, 0.35)
    height = SIZE_PX // shelves
    for shelf in range(shelves):
        column = 4
        while column < SIZE_PX - 10:
            width, tall = int(rng.integers(6, 13)), int(height * rng.uniform(0.6, 0.85))
            bottom = (shelf + 1) * height - 4
            if rng.random() < 0.85:
                spine = rng.uniform(0.1, 0.9, 3) * rng.uniform(0.6, 1)
                image[bottom - tall : bottom, column : min(column + width, SIZE_PX - 4)] = spine
            column += width
        image[(shelf + 1) * height - 4 : (shelf + 1) * height] = wood_colour
    image[:, :4] = image[:, -4:] = image[:4] = wood_colour
    return image


def facade(rng: np.random.Generator, wall: np.ndarray, floors: int, columns: int, trim: Colour) -> np.ndarray:
    """A house front: windows on a wall texture, with a door in the middle of the ground floor."""
    image = wall.copy()
    glass = _shade((0.35, 0.45, 0.58), rng.uniform(0.6, 1.3))
    cell_h, cell_w = SIZE_PX / floors, SIZE_PX / columns
    for floor in range(floors):
        for column in range(columns):
            is_door = floor == floors - 1 and column == columns // 2
            top = int((floor + (0.3 if is_door else 0.22)) * cell_h)
            bottom = int((floor + (1.0 if is_door else 0.75)) * cell_h)
            left, right = int((column + 0.25) * cell_w), int((column + 0.75) * cell_w)
            image[max(top - 3, 0) : bottom + 3, left - 3 : right + 3] = trim
            image[top:bottom, left:right] = rng.uniform(0.15, 0.6, 3) if is_door else glass
            if not is_door:
                image[top:bottom, (left + right) // 2 - 1 : (left + right) // 2 + 2] = trim
    return image


def road(rng: np.random.Generator, tone: float, width_m: float, lane_m: float, yellow: bool) -> np.ndarray:
    """One period of a road: columns across its width, rows along it; dashed centre line, solid edge lines."""
    v, u = _axes(SIZE_PX)
    image = np.ones(3) * (tone * (0.85 + 0.3 * fractal(rng, 4)))[..., None]
    across_m = (u - 0.5) * width_m
    paint = np.array([0.85, 0.7, 0.2]) if yellow else np.array([0.9, 0.9, 0.88])
    centre = (np.abs(across_m) < 0.14) & (v < 0.55)
    edge = np.abs(np.abs(across_m) - lane_m) < 0.12
    image = np.where(centre[..., None], paint, image)
    return np.clip(np.where(edge[..., None], 0.88, image), 0, 1)


def halved(image: np.ndarray) -> np.ndarray:
    """Half the size, averaged."""
    half = image.shape[0] // 2
    return image.reshape(half, 2, half, 2, 3).mean((1, 3))


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Float RGB in 0..1 as uint8."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
