"""From poses and lenses to numbers that a network reads.

Shape legend: B batch, V views, T latent frames, R pixel frames of one latent frame, H W latent grid, D width.
"""

import torch
from torch import Tensor

RAY_NUMBERS = 6
"""Direction d and moment o x d."""
MOTION_NUMBERS = 12
"""Rotation minus identity (9, row by row) and translation (3)."""
MIN_DISTANCE_M = 1e-3
"""A camera that moves less than this stands still: dividing by it would blow rounding up."""


def largest_distance(first_from_camera_BVTR44: Tensor) -> Tensor:
    """How far a camera of each clip gets from the first one, [B]; 1 for clips in which none moves.

    Dividing by it is how CamCo (arXiv 2406.02509) makes paths of unknown scale comparable.
    """
    distance_B = first_from_camera_BVTR44[..., :3, 3].norm(dim=-1).flatten(1).amax(1)
    return torch.where(distance_B > MIN_DISTANCE_M, distance_B, torch.ones_like(distance_B))


def with_unit(first_from_camera_BVTR44: Tensor, unit: Tensor) -> Tensor:
    """Poses with translations divided by `unit`, [B] or a single number."""
    scaled = first_from_camera_BVTR44.clone()
    scaled[..., :3, 3] /= unit.reshape(-1, 1, 1, 1, 1)
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


def motion(first_from_camera_BVTR44: Tensor) -> tuple[Tensor, Tensor]:
    """How the camera moved since the last pixel frame of the previous latent frame.

    For each pixel frame, in the axes of that previous camera: rotation minus identity, row by row [B,V,T,R,9], and
    translation [B,V,T,R,3]. Zero for latent frame 0 and for a camera that stands still.
    """
    last = first_from_camera_BVTR44[:, :, :, -1]
    before = torch.cat([last[:, :, :1], last[:, :, :-1]], 2)[:, :, :, None]
    camera_from_first = before[..., :3, :3].transpose(-1, -2)
    turned = camera_from_first @ first_from_camera_BVTR44[..., :3, :3]
    moved = camera_from_first @ (first_from_camera_BVTR44[..., :3, 3:] - before[..., :3, 3:])
    return (turned - torch.eye(3).to(turned)).flatten(-2), moved.squeeze(-1)
