"""World 3: an ego car with a rig of cameras drives along a street.

World frame: z up, metres. Ego frame: x forward, y left, z up, origin on the ground below the middle of the car.
The road's centre line is described by arc length s and a curvature; lanes are 3.5 m wide, traffic keeps right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worlds import street_look
from worlds.cameras import camera_axes, intrinsics, pose, rotation_z
from worlds.record import Episode, Settings, episode_rng
from worlds.roadside import add_car, line_street
from worlds.scene import Scene, Stage

FOVY_DEG = 75.0
LANE_M = 3.5
RIG = {
    "front": (1.2, 0.0, 1.6, 0.0),
    "left": (0.8, 0.5, 1.6, 55.0),
    "right": (0.8, -0.5, 1.6, -55.0),
    "rear_left": (-0.6, 0.5, 1.6, 115.0),
    "rear_right": (-0.6, -0.5, 1.6, -115.0),
    "back": (-1.2, 0.0, 1.6, 180.0),
}
"""Known extrinsics: x, y, z in m in the ego frame and yaw in degrees (left positive); all look down by 4 degrees."""


def ego_from_camera(camera: str) -> np.ndarray:
    """Pose [4, 4] of a camera (OpenCV axes) in the ego frame."""
    if camera not in RIG:
        raise ValueError(f"camera {camera!r} is not part of the rig; known: {', '.join(RIG)}")
    x, y, z, yaw_deg = RIG[camera]
    return pose(camera_axes(np.radians(yaw_deg), np.radians(-4.0)), np.array([x, y, z]))


class Road:
    """A centre line with smoothly varying curvature, sampled every half metre."""

    STEP_M = 0.5

    def __init__(self, rng: np.random.Generator, bend: float) -> None:
        self.start_m, end_m = -60.0, 130.0
        s = np.arange(self.start_m, end_m, self.STEP_M)
        ramp = 0.5 - 0.5 * np.cos(np.pi * np.clip((s + 5) / rng.uniform(15, 30), 0, 1))
        curvature = bend * ramp * np.clip((80 - s) / 30, 0, 1)
        heading = np.concatenate([[0], np.cumsum(curvature[:-1]) * self.STEP_M])
        steps = np.stack([np.cos(heading), np.sin(heading)], 1) * self.STEP_M
        points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], 0)])
        self.s, self.heading = s, heading
        self.points = points - points[np.searchsorted(s, 0.0)]

    def at(self, s_m: float, left_m: float = 0.0) -> tuple[np.ndarray, float]:
        """Ground point [2], `left_m` to the left of the centre line, and the road's heading in rad."""
        heading = float(np.interp(s_m, self.s, self.heading))
        centre = np.array([np.interp(s_m, self.s, self.points[:, 0]), np.interp(s_m, self.s, self.points[:, 1])])
        return centre + left_m * np.array([-np.sin(heading), np.cos(heading)]), heading

    def edge(self, left_m: float, height_m: float) -> np.ndarray:
        """The polyline [N, 3] parallel to the centre line."""
        ground = np.stack([self.at(s, left_m)[0] for s in self.s[::4]])
        return np.concatenate([ground, np.full((len(ground), 1), height_m)], 1)


@dataclass(frozen=True)
class Drive:
    """The ego car's way: arc length and lateral offset per frame, and what it does in words."""

    s_m: np.ndarray
    left_m: np.ndarray
    instruction: str


def draw_drive(rng: np.random.Generator, bend: float, settings: Settings) -> Drive:
    """Speed profile and lane keeping or one lane change."""
    time = np.arange(settings.num_frames) / settings.fps_hz
    duration = time[-1]
    pace = rng.choice(["steady", "accelerate", "slow down"], p=[0.5, 0.25, 0.25])
    begin, end = {
        "steady": (rng.uniform(4, 10),) * 2,
        "accelerate": (rng.uniform(2, 5), rng.uniform(8, 12)),
        "slow down": (rng.uniform(8, 12), rng.uniform(1, 4)),
    }[pace]
    speed = begin + (end - begin) * (0.5 - 0.5 * np.cos(np.pi * time / duration))
    s_m = np.concatenate([[0], np.cumsum(speed[:-1]) / settings.fps_hz])
    start, change = -LANE_M / 2, 0.0
    if rng.random() < 0.35:
        start = rng.choice([-LANE_M / 2, LANE_M / 2])
        change = -2 * start
    mid, length = rng.uniform(0.4, 0.6) * duration, rng.uniform(1.8, 2.6)
    progress = np.clip((time - mid) / length + 0.5, 0, 1)
    left_m = start + rng.uniform(-0.3, 0.3) + change * progress**2 * (3 - 2 * progress)
    words = "drive straight" if abs(bend) < 0.006 else f"follow the curve to the {'left' if bend > 0 else 'right'}"
    if change:
        words += f", change to the {'left' if change > 0 else 'right'} lane"
    return Drive(s_m, left_m, words if pace == "steady" else f"{words}, {pace}")


def ego_poses(road: Road, drive: Drive) -> np.ndarray:
    """world_from_ego [T, 4, 4]; the car heads along its own path."""
    ground = np.stack([road.at(s, left)[0] for s, left in zip(drive.s_m, drive.left_m, strict=True)])
    slope = np.gradient(drive.left_m, drive.s_m)
    headings = [road.at(s)[1] + np.arctan(k) for s, k in zip(drive.s_m, slope, strict=True)]
    return np.stack([pose(rotation_z(h), np.array([*at, 0.0])) for at, h in zip(ground, headings, strict=True)])


@dataclass(frozen=True)
class Traffic:
    """Another moving car."""

    name: str
    s_m: float
    left_m: float
    speed_mps: float

    def pose(self, road: Road, time_s: float) -> np.ndarray:
        """world_from_car [4, 4]."""
        ground, heading = road.at(self.s_m + self.speed_mps * time_s, self.left_m)
        return pose(rotation_z(heading + (np.pi if self.speed_mps < 0 else 0)), np.array([*ground, 0.0]))


def draw_traffic(rng: np.random.Generator, drive: Drive) -> list[Traffic]:
    """One car well ahead or none, and up to two oncoming cars, unless the ego car uses the oncoming lane."""
    cars = []
    if rng.random() < 0.6:
        ahead = drive.s_m[-1] + rng.uniform(6, 16)
        speed = rng.uniform(0.2, 1.0) * (drive.s_m[-1] / 3.2)
        cars.append(Traffic("ahead", max(ahead - speed * 3.2, 9.0), -LANE_M / 2, speed))
    if drive.left_m.max() < 0.5:
        spots = np.cumsum(rng.uniform(14, 30, rng.integers(0, 3)))
        cars += [Traffic(f"oncoming{i}", float(s), LANE_M / 2, -rng.uniform(4, 9)) for i, s in enumerate(spots)]
    return cars


def episode(seed: int, index: int, settings: Settings) -> Episode:
    """Render one episode; a pure function of its arguments."""
    rng = episode_rng("street", settings.look, seed, index)
    bend = float(rng.choice([0.0, 1.0, -1.0], p=[0.4, 0.3, 0.3]) * rng.uniform(0.012, 0.035))
    road = Road(rng, bend)
    drive = draw_drive(rng, bend, settings)
    traffic = draw_traffic(rng, drive)
    look = street_look.draw(rng, settings.look)
    scene = Scene(extent_m=30.0, centre=(drive.s_m[-1] / 2 + 8, 0, 0), near_m=0.3, far_m=250)
    street_look.build(scene, look, road, LANE_M, rng)
    line_street(scene, look, road, rng)
    for car in traffic:
        add_car(scene, scene.mover(car.name), look, rng)
    poses = ego_poses(road, drive)
    cameras = np.stack([poses @ ego_from_camera(name) for name in settings.cameras])
    with Stage(scene, fovy_deg=FOVY_DEG, size_px=settings.size_px) as stage:
        frames = _film(stage, road, traffic, cameras, settings.fps_hz)
    lens = intrinsics(FOVY_DEG, settings.size_px)
    return Episode(
        views=settings.cameras,
        video_VTHWC=frames,
        caption=f"a {look.words} with houses and trees, seen from a driving car",
        instruction=drive.instruction,
        fps_hz=settings.fps_hz,
        seed=(seed, index),
        features={"ego.world_from_ego": poses.astype(np.float32)},
        camera_features={
            "camera.intrinsics": np.tile(lens, (len(settings.cameras), 1)).astype(np.float32),
            "camera.world_from_camera": cameras.astype(np.float32),
        },
    )


def _film(stage: Stage, road: Road, traffic: Sequence[Traffic], cameras_VT44: np.ndarray, fps_hz: float) -> np.ndarray:
    """uint8 [V, T, H, W, 3]."""
    views: list[list[np.ndarray]] = [[] for _ in cameras_VT44]
    for frame in range(cameras_VT44.shape[1]):
        for car in traffic:
            stage.place(car.name, car.pose(road, frame / fps_hz))
        stage.settle()
        for view, camera_T44 in zip(views, cameras_VT44, strict=True):
            view.append(stage.photograph(camera_T44[frame]))
    return np.stack([np.stack(view) for view in views])
