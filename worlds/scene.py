"""A thin layer over MuJoCo: build a scene from simple parts, pose its moving parts, photograph it.

MuJoCo is imported here and nowhere else.
"""

import os
from collections.abc import Sequence
from ctypes.util import find_library
from typing import Any

import numpy as np

from worlds import textures
from worlds.cameras import rotation_z

Vector = Sequence[float] | np.ndarray
SUPERSAMPLING = 3
"""Frames are rendered this many times larger and averaged down."""
SHADOW_MAP_PX = 512

os.environ.setdefault("LP_NUM_THREADS", "0")  # software rendering: one process, one core
if not os.environ.get("MUJOCO_GL"):
    os.environ["MUJOCO_GL"] = "osmesa" if find_library("OSMesa") else "egl"
try:
    import mujoco
except ImportError as error:
    raise ImportError("rendering the worlds needs MuJoCo: pip install -e '.[worlds]'") from error
except Exception as error:  # MuJoCo loads OpenGL on import, which fails in a way of its own on every system
    raise ImportError(
        f"MuJoCo found no OpenGL for MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}); install libosmesa6, "
        "or set MUJOCO_GL to egl or glfw"
    ) from error

PLANE = mujoco.mjtGeom.mjGEOM_PLANE
BOX = mujoco.mjtGeom.mjGEOM_BOX
CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER
SPHERE = mujoco.mjtGeom.mjGEOM_SPHERE
ELLIPSOID = mujoco.mjtGeom.mjGEOM_ELLIPSOID
CAPSULE = mujoco.mjtGeom.mjGEOM_CAPSULE


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """Rotation matrix [3, 3] as MuJoCo's (w, x, y, z)."""
    result = np.zeros(4)
    mujoco.mju_mat2Quat(result, np.ascontiguousarray(rotation, dtype=float).ravel())
    return result


class Scene:
    """Collects parts; `Stage(scene)` compiles and renders them. Metres, z up."""

    def __init__(self, *, extent_m: float, centre: Vector, near_m: float = 0.02, far_m: float = 60.0) -> None:
        self.spec = mujoco.MjSpec()
        self.world = self.spec.worldbody
        self.images: dict[str, np.ndarray] = {}
        self.spec.stat.extent, self.spec.stat.center = extent_m, list(centre)
        self.spec.visual.map.znear, self.spec.visual.map.zfar = near_m / extent_m, far_m / extent_m
        quality = self.spec.visual.quality
        quality.shadowsize, quality.offsamples = SHADOW_MAP_PX, 0
        quality.numslices, quality.numstacks, quality.numquads = 16, 10, 3

    def light(self, direction: Vector, colour: Vector, ambient: Vector) -> None:
        """A sun with shadows, and light from everywhere."""
        self._ambient(ambient)
        away = np.asarray(direction, float) / np.linalg.norm(direction)
        self.world.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=np.asarray(self.spec.stat.center) - away * 3,
            dir=away, diffuse=list(colour), specular=[0.25] * 3, ambient=[0.0] * 3, castshadow=True,
        )  # fmt: skip

    def lamp(self, position: Vector, colour: Vector, ambient: Vector) -> None:
        """A ceiling lamp that shines downwards in all directions with shadows, and light from everywhere."""
        self._ambient(ambient)
        self.world.add_light(
            type=mujoco.mjtLightType.mjLIGHT_SPOT, pos=list(position), dir=[0, 0, -1], cutoff=89, exponent=0.0,
            diffuse=list(colour), specular=[0.2] * 3, ambient=[0.0] * 3, castshadow=True,
        )  # fmt: skip

    def _ambient(self, ambient: Vector) -> None:
        head = self.spec.visual.headlight
        head.ambient, head.diffuse, head.specular = list(ambient), [0.12] * 3, [0.0] * 3

    def sky(self, horizon: Vector, zenith: Vector) -> None:
        """A sky that blends from the horizon upwards."""
        self.spec.add_texture(
            name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
            rgb1=list(zenith), rgb2=list(horizon), width=64, height=384,
        )  # fmt: skip

    def material(
        self,
        image: np.ndarray | Sequence[np.ndarray] | None = None,
        *,
        rgba: Vector = (1, 1, 1, 1),
        repeat: tuple[float, float] | None = None,
        specular: float = 0.1,
        emission: float = 0.0,
    ) -> str:
        """A new material; its name. With `repeat` the image lies flat on x-y, else it wraps every face of a body.

        A list of six images gives each face its own: +x, -x, +y (second axis), ...  as MuJoCo orders cube maps.
        """
        name = f"m{len(self.spec.materials)}"
        made = self.spec.add_material(
            name=name, rgba=list(rgba), specular=specular, shininess=0.4, emission=emission, texrepeat=repeat or (1, 1)
        )
        if image is not None:
            faces = [image] if isinstance(image, np.ndarray) else list(image)
            if not repeat:  # furniture is small in the picture, and six large faces are slow to load
                faces = [textures.halved(face) for face in (faces * 6)[:6]]
            data = np.concatenate([textures.to_bytes(face) for face in faces])
            kind = mujoco.mjtTexture.mjTEXTURE_2D if repeat else mujoco.mjtTexture.mjTEXTURE_CUBE
            self.spec.add_texture(
                name=name, type=kind, builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT, nchannel=3,
                width=data.shape[1], height=data.shape[0],
            )  # fmt: skip
            made.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
            self.images[name] = data
        return name

    def part(
        self,
        kind: Any,
        size: Vector,
        position: Vector,
        material: str,
        *,
        yaw_rad: float = 0.0,
        rotation: np.ndarray | None = None,
        body: Any = None,
        collides: tuple[int, int] = (0, 0),
        friction: Vector = (0.8, 0.01, 0.001),
        mass_kg: float = 0.1,
    ) -> None:
        """Add one shape (half sizes, m) to the world or to `body`."""
        padded = list(size) + [0.0] * (3 - len(size))
        (body or self.world).add_geom(
            type=kind, size=padded, pos=list(position), material=material, mass=mass_kg, friction=list(friction),
            quat=quaternion(rotation_z(yaw_rad) if rotation is None else rotation), condim=6,
            contype=collides[0], conaffinity=collides[1],
        )  # fmt: skip

    def panel(
        self, centre: Vector, normal: Vector, half: tuple[float, float], material: str,
        thickness_m: float = 0.02,
    ) -> None:  # fmt: skip
        """A thin upright board whose picture faces `normal` (horizontal); half width and half height in m."""
        front = np.asarray(normal, float) / np.linalg.norm(normal)
        across = np.cross([0, 0, 1.0], front)
        axes = np.stack([across, [0, 0, 1.0], front], axis=1)
        self.part(BOX, (half[0], half[1], thickness_m / 2), centre, material, rotation=axes)

    def wall(self, centre: Vector, normal: Vector, half: tuple[float, float], material: str) -> None:
        """Like a panel, but one-sided: light passes from behind, so that a sun may shine into a closed room."""
        front = np.asarray(normal, float) / np.linalg.norm(normal)
        axes = np.stack([np.cross([0, 0, 1.0], front), [0, 0, 1.0], front], axis=1)
        self.part(PLANE, (half[0], half[1], 1.0), centre, material, rotation=axes)

    def ceiling(self, centre: Vector, half: tuple[float, float], material: str) -> None:
        """A one-sided horizontal board that faces down."""
        down = np.diag([1.0, -1.0, -1.0])
        self.part(PLANE, (half[0], half[1], 1.0), centre, material, rotation=down)

    def strip(self, right: np.ndarray, left: np.ndarray, along: np.ndarray, material: str) -> None:
        """A textured ribbon, seen from above, between two polylines [N, 3] that run forward.

        `along` [N] is the texture coordinate of its length; its width is covered once.
        """
        count = len(left)
        vertices = np.stack([right, left], 1).reshape(-1, 3)
        coordinates = np.stack([np.tile([0.0, 1.0], count), np.repeat(along, 2)], 1)
        first = np.arange(count - 1) * 2
        faces = np.stack([first, first + 2, first + 1, first + 1, first + 2, first + 3], 1).reshape(-1, 3)
        self.mesh(vertices, faces, coordinates, material)

    def mesh(self, vertices: np.ndarray, faces: np.ndarray, coordinates: np.ndarray, material: str) -> None:
        """A static triangle mesh with texture coordinates."""
        name = f"mesh{len(self.spec.meshes)}"
        self.spec.add_mesh(
            name=name, uservert=vertices.ravel(), userface=faces.ravel(), usertexcoord=coordinates.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )  # fmt: skip
        self.world.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=material, contype=0, conaffinity=0, mass=0.0
        )

    def mover(self, name: str) -> Any:
        """A body without physics, posed by hand every frame."""
        return self.world.add_body(name=name, mocap=True)

    def free_body(self, name: str, position: Vector, yaw_rad: float) -> Any:
        """A body that physics moves."""
        body = self.world.add_body(name=name, pos=list(position), quat=quaternion(rotation_z(yaw_rad)))
        body.add_freejoint()
        return body


class Stage:
    """A compiled scene with a renderer; use as a context manager."""

    def __init__(self, scene: Scene, *, fovy_deg: float, size_px: int, fog: bool = False) -> None:
        scene.world.add_camera(name="eye", fovy=fovy_deg)
        large = size_px * SUPERSAMPLING
        scene.spec.visual.global_.offwidth = scene.spec.visual.global_.offheight = large
        self.model = scene.spec.compile()
        for name, image in scene.images.items():
            start = self.model.tex(name).adr[0]
            self.model.tex_data[start : start + image.size] = image.ravel()
        self.data = mujoco.MjData(self.model)
        self.renderer = mujoco.Renderer(self.model, large, large)
        self.renderer.scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = fog

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.renderer.close()

    def place(self, name: str, world_from_body: np.ndarray) -> None:
        """Pose a mover."""
        index = self.model.body(name).mocapid[0]
        self.data.mocap_pos[index] = world_from_body[:3, 3]
        self.data.mocap_quat[index] = quaternion(world_from_body[:3, :3])

    def body_pose(self, name: str) -> np.ndarray:
        """(x, y, z, qw, qx, qy, qz) of a body in the world after the last `settle` or `step`."""
        body = self.data.body(name)
        return np.concatenate([body.xpos, body.xquat])

    def step(self) -> None:
        """One step of physics."""
        mujoco.mj_step(self.model, self.data)

    def settle(self) -> None:
        """Recompute all poses without moving time."""
        mujoco.mj_forward(self.model, self.data)

    def photograph(self, world_from_camera: np.ndarray) -> np.ndarray:
        """uint8 RGB [H, W, 3] seen by an OpenCV camera at the given pose."""
        opengl = world_from_camera[:3, :3] * np.array([1.0, -1.0, -1.0])
        self.data.cam_xpos[0] = world_from_camera[:3, 3]
        self.data.cam_xmat[0] = opengl.ravel()
        self.renderer.update_scene(self.data, camera=0)
        large = self.renderer.render()
        n = SUPERSAMPLING
        height, width = large.shape[0] // n, large.shape[1] // n
        mean = large.reshape(height, n, width, n, 3).mean((1, 3), dtype=np.float32)
        return (mean + 0.5).astype(np.uint8)
