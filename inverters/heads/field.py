"""The field of a procedural head: signed distance of its surface, and its shaded colour.

Pointwise torch without data-dependent control flow: differentiable, and usable with torch.compile.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.heads.anatomy import UNITS, Parts, Values, parts
from inverters.heads.paint import albedo, backdrop_color, shade

BACKDROP_RADIUS = 0.47
_NORMAL_STEP = 0.0025


def union(p: Parts) -> Tensor:
    """Return the distance [N,M] of all parts together, in world units."""
    soft = torch.minimum(torch.minimum(p.skin, p.hair), torch.minimum(p.cloth, p.glasses))
    hard = torch.minimum(torch.minimum(p.eye, p.teeth), p.tongue)
    return torch.minimum(soft, hard) * (0.94 * UNITS)


def head_distance(values: Values, points: Tensor) -> Tensor:
    """Return `signed_distance` without the backdrop."""
    return union(parts(values, points))


def backdrop_distance(points: Tensor) -> Tensor:
    """Return the distance [N,M] of the backdrop: all outside a half-cylinder about the y axis, at z < 0."""
    x, z = points[..., 0], points[..., 2]
    return torch.maximum(BACKDROP_RADIUS - torch.sqrt(x * x + z * z + 1e-10), z)


def signed_distance(values: Values, points: Tensor) -> Tensor:
    """Return the distance [N,M] of the whole scene at points [N,M,3], negative inside.

    The scene is the head with eyes, mouth, hair, glasses and clothes, and the backdrop.
    """
    return torch.minimum(head_distance(values, points), backdrop_distance(points))


def radiance(values: Values, points: Tensor) -> Tensor:
    """Return the colour [N,M,3] in [0,1] of the surface nearest to points [N,M,3].

    It is the same from every camera. Normals are finite differences of the distance; ambient occlusion is
    probed at two distances along them.
    """
    p = parts(values, points)
    base, gloss, soft = albedo(values, p)
    n, m = points.shape[:2]
    here = union(p)
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    taps = (points[:, :, None] + _NORMAL_STEP * corners).reshape(n, m * 4, 3)
    around = union(parts(values, taps)).reshape(n, m, 4)
    normal = torch.nn.functional.normalize(around @ corners, dim=-1, eps=1e-6)
    steps = points.new_tensor([0.02, 0.055])
    out = (points[:, :, None] + steps[:, None] * normal[:, :, None]).reshape(n, m * 2, 3)
    reach = union(parts(values, out)).reshape(n, m, 2) - here[..., None].clamp_max(0.0)
    hidden = ((steps - reach).clamp_min(0.0) / steps).clamp_max(1.0)
    occlusion = 0.44 * hidden[..., 0] + 0.30 * hidden[..., 1]
    lit = shade(values, base, gloss, soft, normal, occlusion)
    wall = torch.sigmoid((here - backdrop_distance(points)) * 500.0)[..., None]
    return (lit + (backdrop_color(values, points[..., 1]) - lit) * wall).clamp(0.0, 1.0)
