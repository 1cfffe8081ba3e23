"""World 1: a robot arm pushes coloured objects on a table.

Robot frame: the arm stands at the origin on the table, x forward, y to the arm's left, z up; table surface z = 0.
Directions in instructions are those of the viewer: "to the left" is left in the image.
"""

from dataclasses import dataclass

import numpy as np

from worlds import tabletop_look, tabletop_policy
from worlds.arm import Arm
from worlds.cameras import euler_from_rotation, intrinsics, pose, rotation_from_euler
from worlds.record import Episode, Settings, episode_rng
from worlds.scene import BOX, CYLINDER, SPHERE, Scene, Stage

COLOURS = {
    "red": (0.85, 0.12, 0.10),
    "green": (0.15, 0.65, 0.20),
    "blue": (0.12, 0.28, 0.85),
    "yellow": (0.95, 0.80, 0.12),
    "purple": (0.55, 0.18, 0.70),
}
SHAPES = ("cube", "cylinder", "ball")
HALF_M = 0.042
MAX_THINGS = 4
SUBSTEPS = 20


@dataclass(frozen=True)
class Thing:
    """One object on the table."""

    colour: str
    shape: str
    position: np.ndarray
    yaw_rad: float

    @property
    def name(self) -> str:
        """For example "red cube"."""
        return f"{self.colour} {self.shape}"


def scatter(rng: np.random.Generator) -> list[Thing]:
    """Two to four objects of different colours, well apart, within the arm's reach."""
    things: list[Thing] = []
    colours = rng.permutation(list(COLOURS))[: rng.integers(2, MAX_THINGS + 1)]
    while len(things) < len(colours):
        spot = np.array([rng.uniform(0.34, 0.62), rng.uniform(-0.24, 0.24), HALF_M])
        if all(np.linalg.norm(spot - other.position) > 0.15 for other in things):
            shape = str(rng.choice(SHAPES))
            things.append(Thing(str(colours[len(things)]), shape, spot, float(rng.uniform(0, np.pi / 2))))
    return things


def add_things(scene: Scene, things: list[Thing], rng: np.random.Generator) -> None:
    """Put the objects on the table as bodies that physics moves."""
    for thing in things:
        tone = np.clip(np.array(COLOURS[thing.colour]) * rng.uniform(0.85, 1.1), 0, 1)
        material = scene.material(rgba=(*tone, 1), specular=0.5)
        body = scene.free_body(thing.name, thing.position, thing.yaw_rad)
        kind, size = {
            "cube": (BOX, (HALF_M, HALF_M, HALF_M)),
            "cylinder": (CYLINDER, (HALF_M * 0.95, HALF_M)),
            "ball": (SPHERE, (HALF_M,)),
        }[thing.shape]
        rolling = 0.012 if thing.shape == "ball" else 0.0005
        scene.part(kind, size, (0, 0, 0), material, body=body, collides=(3, 3), friction=(0.7, 0.01, rolling))


def caption(things: list[Thing], surface: str) -> str:
    """A neutral description of what is seen."""
    names = [f"a {thing.name}" for thing in things]
    return f"a robot arm at a {surface} table with {', '.join(names[:-1])} and {names[-1]}"


def episode(seed: int, index: int, settings: Settings) -> Episode:
    """Render one episode; a pure function of its arguments."""
    rng = episode_rng("tabletop", settings.look, seed, index)
    things = scatter(rng)
    look = tabletop_look.draw(rng, settings.look)
    view = tabletop_look.viewpoint(rng, settings.look)
    plan = tabletop_policy.draw(rng, things, view, settings.num_frames / settings.fps_hz)
    scene = Scene(extent_m=1.5, centre=(0.4, 0, 0))
    tabletop_look.build(scene, look)
    add_things(scene, things, rng)
    arm = Arm(scene, look.arm)
    scene.spec.option.timestep = 1 / settings.fps_hz / SUBSTEPS
    with Stage(scene, fovy_deg=look.fovy_deg, size_px=settings.size_px) as stage:
        frames, features = film(stage, arm, plan, things, view, settings)
    count = settings.num_frames
    return Episode(
        views=("main",),
        video_VTHWC=np.stack(frames)[None],
        caption=caption(things, look.surface),
        instruction=plan.instruction,
        fps_hz=settings.fps_hz,
        seed=(seed, index),
        features=features,
        camera_features={
            "camera.intrinsics": intrinsics(look.fovy_deg, settings.size_px)[None].astype(np.float32),
            "camera.world_from_camera": np.tile(view, (1, count, 1, 1)).astype(np.float32),
        },
    )


def film(
    stage: Stage, arm: Arm, plan: tabletop_policy.Plan, things: list[Thing], view: np.ndarray, settings: Settings
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Run the plan through physics and record every frame."""
    frames, states, objects = [], [], []
    for frame in range(settings.num_frames):
        for substep in range(SUBSTEPS if frame else 0):
            arm.reach(stage, plan.at((frame - 1 + (substep + 1) / SUBSTEPS) / settings.fps_hz))
            stage.step()
        state = plan.at(frame / settings.fps_hz)
        arm.move(stage, state)
        stage.settle()
        frames.append(stage.photograph(view))
        states.append(state)
        objects.append([stage.body_pose(thing.name) for thing in things])
    state_T7 = np.array(states)
    padded = np.zeros((len(frames), MAX_THINGS, 7))  # all zero: no such object
    padded[:, : len(things)] = np.round(objects, 5)  # physics trembles below
    return frames, {
        "observation.state": state_T7.astype(np.float32),
        "action": actions(state_T7).astype(np.float32),
        "objects.pose": padded.astype(np.float32),
    }


def actions(state_T7: np.ndarray) -> np.ndarray:
    """Row t is the motion from frame t to t+1 in the gripper frame of t, and the opening at t+1.

    [T, 7]: dx, dy, dz in m, droll, dpitch, dyaw in rad (Rz Ry Rx), gripper 0..1. The last row has no motion.
    """
    rows = []
    following = np.concatenate([state_T7[1:], state_T7[-1:]])
    for now, then in zip(state_T7, following, strict=True):
        delta = np.linalg.inv(state_pose(now)) @ state_pose(then)
        rows.append([*delta[:3, 3], *euler_from_rotation(delta[:3, :3]), then[6]])
    return np.array(rows)


def state_pose(state: np.ndarray) -> np.ndarray:
    """world_from_gripper [4, 4] of a state (x, y, z, roll, pitch, yaw, ...)."""
    return pose(rotation_from_euler(*state[3:6]), state[:3])
