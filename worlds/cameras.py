"""Camera geometry.

Cameras follow the OpenCV convention: x right, y down, z forward. A pixel (column i, row j) covers [i, i+1) x [j, j+1),
so its centre is (i + 0.5, j + 0.5). World axes are z up, metres.
"""

import numpy as np


def rotation_x(angle_rad: float) -> np.ndarray:
    """Rotation about x, [3, 3]."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_y(angle_rad: float) -> np.ndarray:
    """Rotation about y, [3, 3]."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_z(angle_rad: float) -> np.ndarray:
    """Rotation about z, [3, 3]."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def rotation_from_euler(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll), rad."""
    return rotation_z(yaw) @ rotation_y(pitch) @ rotation_x(roll)


def euler_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """(roll, pitch, yaw) in rad of Rz(yaw) Ry(pitch) Rx(roll), for |pitch| < pi/2."""
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    pitch = -np.arcsin(np.clip(rotation[2, 0], -1, 1))
    return np.array([roll, pitch, np.arctan2(rotation[1, 0], rotation[0, 0])])


def pose(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    """A rigid transform [4, 4]."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position
    return matrix


def camera_axes(yaw_rad: float, pitch_rad: float) -> np.ndarray:
    """Columns right, down, forward of a level camera heading `yaw_rad` from world x, looking up by `pitch_rad`."""
    forward = np.array([np.cos(yaw_rad) * np.cos(pitch_rad), np.sin(yaw_rad) * np.cos(pitch_rad), np.sin(pitch_rad)])
    right = np.array([np.sin(yaw_rad), -np.cos(yaw_rad), 0.0])
    return np.stack([right, np.cross(forward, right), forward], axis=1)


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """world_from_camera [4, 4] of a level camera at `position` that sees `target` in its centre."""
    gaze = np.asarray(target, float) - np.asarray(position, float)
    yaw, pitch = np.arctan2(gaze[1], gaze[0]), np.arctan2(gaze[2], np.hypot(gaze[0], gaze[1]))
    return pose(camera_axes(float(yaw), float(pitch)), np.asarray(position, float))


def intrinsics(fovy_deg: float, size_px: int) -> np.ndarray:
    """(fx, fy, cx, cy) in px of a square image with the given vertical field of view."""
    focal = 0.5 * size_px / np.tan(np.radians(fovy_deg) / 2)
    return np.array([focal, focal, size_px / 2, size_px / 2])


def project(point_world: np.ndarray, intrinsics_px: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
    """(column, row) in px of a world point [3]; ValueError when it lies behind the camera."""
    x, y, z = world_from_camera[:3, :3].T @ (np.asarray(point_world) - world_from_camera[:3, 3])
    if z <= 0:
        raise ValueError(f"point {point_world} lies behind the camera (depth {z:.3f} m)")
    fx, fy, cx, cy = intrinsics_px
    return np.array([fx * x / z + cx, fy * y / z + cy])
