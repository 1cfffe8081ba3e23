"""A four-joint arm with a two-finger gripper that points down; only the fingers touch objects."""

from dataclasses import dataclass

import numpy as np

from worlds.cameras import pose, rotation_from_euler, rotation_z
from worlds.scene import BOX, CAPSULE, CYLINDER, Scene, Stage, Vector

SHOULDER_M = 0.26
UPPER_M = 0.40
FORE_M = 0.40
WRIST_ABOVE_TIP_M = 0.17


@dataclass(frozen=True, kw_only=True)
class ArmColours:
    """RGB of the arm's parts."""

    link: Vector
    joint: Vector
    finger: Vector = (0.15, 0.15, 0.16)


class Arm:
    """Visual links posed by inverse kinematics. A state is (x, y, z, roll, pitch, yaw, gripper) of the finger tips."""

    def __init__(self, scene: Scene, colours: ArmColours) -> None:
        link = scene.material(rgba=(*colours.link, 1), specular=0.4)
        joint = scene.material(rgba=(*colours.joint, 1), specular=0.4)
        finger = scene.material(rgba=(*colours.finger, 1), specular=0.2)
        scene.part(CYLINDER, (0.085, 0.03), (0, 0, 0.03), joint)
        scene.part(CYLINDER, (0.058, SHOULDER_M / 2), (0, 0, SHOULDER_M / 2), link)
        for name, length, radius in (("upper", UPPER_M, 0.045), ("fore", FORE_M, 0.036)):
            body = scene.mover(name)
            scene.part(CAPSULE, (radius, length / 2), (0, 0, length / 2), link, body=body)
            ends = np.array([[0, 0, 0], [0, 0, length]])
            for end in ends if name == "upper" else ends[1:]:
                across = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
                scene.part(CYLINDER, (radius * 1.35, radius * 1.3), end, joint, rotation=across, body=body)
        hand = scene.mover("hand")
        scene.part(CYLINDER, (0.032, 0.045), (0, 0, 0.125), link, body=hand)
        scene.part(BOX, (0.026, 0.055, 0.016), (0, 0, 0.075), joint, body=hand)
        for side in ("finger_left", "finger_right"):
            body = scene.mover(side)
            scene.part(BOX, (0.015, 0.011, 0.035), (0, 0, 0.035), finger, body=body, collides=(2, 0))

    def reach(self, stage: Stage, state: np.ndarray) -> None:
        """Pose hand and fingers only: what physics can feel."""
        hand = pose(rotation_from_euler(*state[3:6]), state[:3])
        stage.place("hand", hand)
        opening = 0.013 + 0.03 * float(state[6])
        for side, sign in (("finger_left", 1), ("finger_right", -1)):
            stage.place(side, hand @ pose(np.eye(3), np.array([0, sign * opening, 0])))

    def move(self, stage: Stage, state: np.ndarray) -> None:
        """Pose every link so that the finger tips reach `state`."""
        self.reach(stage, state)
        hand = pose(rotation_from_euler(*state[3:6]), state[:3])
        wrist = hand[:3, 3] + hand[:3, :3] @ np.array([0, 0, WRIST_ABOVE_TIP_M])
        heading = float(np.arctan2(wrist[1], wrist[0]))
        reach, height = float(np.hypot(wrist[0], wrist[1])), float(wrist[2] - SHOULDER_M)
        distance = min(float(np.hypot(reach, height)), UPPER_M + FORE_M - 1e-6)
        lift = np.arccos((UPPER_M**2 + distance**2 - FORE_M**2) / (2 * UPPER_M * distance))
        elevation = float(np.arctan2(height, reach) + lift)
        elbow_reach, elbow_height = UPPER_M * np.cos(elevation), UPPER_M * np.sin(elevation)
        fore_elevation = float(np.arctan2(height - elbow_height, reach - elbow_reach))
        turn = rotation_z(heading)
        shoulder = np.array([0, 0, SHOULDER_M])
        elbow = shoulder + turn @ np.array([elbow_reach, 0, elbow_height])
        stage.place("upper", pose(turn @ _along(elevation), shoulder))
        stage.place("fore", pose(turn @ _along(fore_elevation), elbow))


def _along(elevation_rad: float) -> np.ndarray:
    """Rotation whose z axis points forward and up by `elevation_rad` in the x-z plane."""
    c, s = np.cos(elevation_rad), np.sin(elevation_rad)
    return np.array([[s, 0, c], [0, 1, 0], [-c, 0, s]])
