"""From poses and lenses to numbers that a network reads. Everything is float32.

Shape legend: B batch, V views, T latent frames, R pixel frames of one latent frame, H W latent grid, D width.
"""

import torch
from torch import Tensor

RAY_NUMBERS = 6
"""Direction d and moment o x d."""
MOTION_NUMBERS = 12
"""Rotation minus identity (9, row by row) and translation (3)."""
MOTION_GAIN = 4.0
"""Motion within one latent frame is a fraction of that within a clip; this brings both to the same size."""
MIN_DISTANCE = 1e-3
"""Under "clip" a camera that moves less than this is taken to stand still: dividing would blow rounding up."""


def with_scale(first_from_camera_BVTR44: Tensor, unit: float | None) -> Tensor:
    """Poses with translations divided by `unit`, or, without one, by each clip's largest distance from the origin.

    The latter is how CamCo (arXiv 2406.02509) makes paths of unknown scale comparable.
    """
    scaled = first_from_camera_BVTR44.clone()
    if unit is None:
        distance_B = scaled[..., :3, 3].norm(dim=-1).flatten(1).amax(1)
        unit_B = torch.where(distance_B > MIN_DISTANCE, distance_B, torch.ones_like(distance_B))
        scaled[..., :3, 3] /= unit_B[:, None, None, None, None]
    else:
        scaled[..., :3, 3] /= unit
    return scaled


def pluecker(first_from_camera_BVTR44: Tensor, lens_BVTR4: Tensor, height: int, width: int) -> Tensor:
    """Rays through the centres of the latent cells, [B,V,T,H,W,6R]: for each pixel frame (d, o x d).

    d is the unit direction and o the camera's place, both in the frame of the first camera. The moment o x d is the
    same for every point of a ray, so the six numbers name the ray and not where it starts. lens: fx, fy, cx, cy in
    cells. Source: Pluecker coordinates as used by CamCo and by Cosmos-1 (arXiv 2501.03575, section 6.1).
    """
    device = lens_BVTR4.device
    row_H1 = torch.arange(height, device=device)[:, None] + 0.5
    column_1W = torch.arange(width, device=device)[None, :] + 0.5
    fx, fy, cx, cy = (number[..., None, None] for number in lens_BVTR4.unbind(-1))
    x, y = torch.broadcast_tensors((column_1W - cx) / fx, (row_H1 - cy) / fy)
    seen = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], -1), dim=-1)
    rotation, origin = first_from_camera_BVTR44[..., :3, :3], first_from_camera_BVTR44[..., :3, 3]
    direction = torch.einsum("bvtrij,bvtrhwj->bvtrhwi", rotation, seen)
    moment = torch.linalg.cross(origin[..., None, None, :].expand_as(direction), direction)
    rays_BVTRHW6 = torch.cat([direction, moment], -1)
    return rays_BVTRHW6.permute(0, 1, 2, 4, 5, 3, 6).flatten(-2)


def motion(first_from_camera_BVTR44: Tensor) -> Tensor:
    """How the camera moved since the last pixel frame of the previous latent frame, [B,V,T,12R].

    For each pixel frame: rotation minus identity and translation, in the axes of that previous camera, times
    MOTION_GAIN. Zero for latent frame 0 and for a camera that stands still.
    """
    last = first_from_camera_BVTR44[:, :, :, -1]
    before = torch.cat([last[:, :, :1], last[:, :, :-1]], 2)[:, :, :, None]
    camera_from_first = before[..., :3, :3].transpose(-1, -2)
    rotation = camera_from_first @ first_from_camera_BVTR44[..., :3, :3]
    moved = first_from_camera_BVTR44[..., :3, 3:] - before[..., :3, 3:]
    translation = camera_from_first @ moved
    identity = torch.eye(3, device=rotation.device)
    numbers = torch.cat([(rotation - identity).flatten(-2), translation.squeeze(-1)], -1)
    return MOTION_GAIN * numbers.flatten(-2)
