"""World 2: a camera moves smoothly through a furnished room. Static scene; x along the room, y across, z up, metres."""

from dataclasses import dataclass

import numpy as np

from worlds import furniture, room_look
from worlds.cameras import camera_axes, intrinsics, pose
from worlds.furniture import Footprint
from worlds.record import Episode, Settings, episode_rng
from worlds.scene import Scene, Stage

CLEARANCE_M = 0.3
FOVY_DEG = 65.0


@dataclass(frozen=True)
class Path:
    """A camera path: positions [T, 3], yaw and pitch [T] in rad."""

    positions: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray

    def poses(self) -> np.ndarray:
        """world_from_camera [T, 4, 4]."""
        views = zip(self.positions, self.yaw, self.pitch, strict=True)
        return np.stack([pose(camera_axes(float(y), float(p)), at) for at, y, p in views])


def episode(seed: int, index: int, settings: Settings) -> Episode:
    """Render one episode; a pure function of its arguments."""
    rng = episode_rng("rooms", settings.look, seed, index)
    look = room_look.draw(rng, settings.look)
    scene = Scene(extent_m=4.0, centre=(0, 0, 1.0), near_m=0.05, far_m=30)
    half = np.array([rng.uniform(2.2, 3.0), rng.uniform(1.9, 2.6)])
    room_look.build(scene, look, half, rng)
    names, footprints = furniture.furnish(scene, look, half, rng)
    path = draw_path(rng, half, footprints, settings)
    poses = path.poses()
    with Stage(scene, fovy_deg=FOVY_DEG, size_px=settings.size_px) as stage:
        stage.settle()
        frames = [stage.photograph(world_from_camera) for world_from_camera in poses]
    return Episode(
        views=("main",),
        video_VTHWC=np.stack(frames)[None],
        caption=f"a room with {look.words} and {', '.join(names[:3])}",
        instruction=describe(path),
        fps_hz=settings.fps_hz,
        seed=(seed, index),
        camera_features={
            "camera.intrinsics": intrinsics(FOVY_DEG, settings.size_px)[None].astype(np.float32),
            "camera.world_from_camera": poses[None].astype(np.float32),
        },
    )


def _smooth(rng: np.random.Generator, count: int, scale: float, mean: float = 0.0) -> np.ndarray:
    """A slowly varying signal [count]: a mean plus half a period or so of a wave."""
    time = np.linspace(0, 1, count)
    wave = np.sin(2 * np.pi * (time * rng.uniform(0.3, 0.9) + rng.random()))
    return mean + scale * wave


def draw_path(rng: np.random.Generator, half: np.ndarray, obstacles: list[Footprint], settings: Settings) -> Path:
    """A smooth path clear of walls and furniture. Steps that would be blocked are redrawn, slower every time."""
    dt_s, count = 1 / settings.fps_hz, settings.num_frames
    for attempt in range(400):
        speed = 0.97**attempt
        yaw_rate = _smooth(rng, count, rng.uniform(0, 0.3), rng.uniform(-0.35, 0.35)) * (rng.random() < 0.8)
        forward = _smooth(rng, count, 0.15, rng.choice([0.5, 0.35, 0.0, -0.35])) * speed
        strafe = _smooth(rng, count, 0.1, rng.choice([0.0, 0.0, 0.4, -0.4])) * speed
        yaw = rng.uniform(-np.pi, np.pi) + np.concatenate([[0], np.cumsum(yaw_rate[:-1]) * dt_s])
        pitch = rng.uniform(-0.28, 0.02) + _smooth(rng, count, rng.uniform(0, 0.1))
        heading = np.stack([np.cos(yaw), np.sin(yaw)], 1)
        left = np.stack([-np.sin(yaw), np.cos(yaw)], 1)
        velocity = heading * forward[:, None] - left * strafe[:, None]
        start = rng.uniform(-half + CLEARANCE_M, half - CLEARANCE_M)
        ground = start + np.concatenate([np.zeros((1, 2)), np.cumsum(velocity[:-1], 0) * dt_s])
        if is_clear(ground, half, obstacles) and sees_far(ground, heading, half, obstacles):
            height = rng.uniform(1.2, 1.6) + _smooth(rng, count, rng.uniform(0, 0.05))
            return Path(np.concatenate([ground, height[:, None]], 1), yaw, pitch)
    raise AssertionError("no clear camera path in this room")


def is_clear(ground_T2: np.ndarray, half: np.ndarray, obstacles: list[Footprint]) -> bool:
    """True when every point keeps its distance from walls and furniture."""
    inside = (np.abs(ground_T2) < half - CLEARANCE_M).all()
    return bool(inside) and all(not o.covers(ground_T2, CLEARANCE_M).any() for o in obstacles)


def sees_far(ground_T2: np.ndarray, heading_T2: np.ndarray, half: np.ndarray, obstacles: list[Footprint]) -> bool:
    """True when the first, middle and last view have at least 1.6 m of free space ahead."""
    picks = [0, len(ground_T2) // 2, -1]
    for reach in (0.8, 1.6):
        ahead = ground_T2[picks] + reach * heading_T2[picks]
        if (np.abs(ahead) > half).any() or (reach < 1 and any(o.covers(ahead, 0).any() for o in obstacles)):
            return False
    return True


def describe(path: Path) -> str:
    """The camera's net motion in words."""
    step = path.positions[-1, :2] - path.positions[0, :2]
    middle = path.yaw[len(path.yaw) // 2]
    forward = step @ [np.cos(middle), np.sin(middle)]
    right = step @ [np.sin(middle), -np.cos(middle)]
    turn = path.yaw[-1] - path.yaw[0]
    words = []
    if abs(forward) > 0.35:
        words.append("move forward" if forward > 0 else "move back")
    if abs(right) > 0.35:
        words.append("slide right" if right > 0 else "slide left")
    if abs(turn) > 0.25:
        words.append("turn left" if turn > 0 else "turn right")
    return " and ".join(words) or "hold the camera still"
