"""Small hollows of the base mesh - nostrils, ears, the rims of the lids - that the light's maps are too coarse for."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from inverters.people.body import Body
from inverters.people.light import DIRECTIONS, sphere
from inverters.rendering.drawing import visibility

_ENLARGED = 6.0
"""The head is enlarged so that visibility's fixed bias and softness become small."""
_CELLS = 320
_EXTENT = 0.62
_CENTRE = (0.0, 0.0, 0.0)


@cache
def detail(mesh: Body) -> Tensor:
    """Return the share of light [V2,1] that small hollows leave of what the light's maps let through.

    In [0.05,1]; made once a mesh, of the base mesh, so that expressions do not change it.
    """
    c = mesh.level2.canonical
    normals = mesh.level2.normals(c)
    head = c[:, 1] > -0.36
    # Points between the vertices close the cells of the maps.
    corners = c[mesh.level2.triangles.long()]
    corners = corners[(corners[:, :, 1] > -0.36).all(1)]
    weights = c.new_tensor([[4, 1, 1], [1, 4, 1], [1, 1, 4], [2, 2, 2]]) / 6
    points = torch.cat([c[head], *((corners * w[:, None]).sum(1) for w in weights)])
    directions = sphere(DIRECTIONS).to(c)
    front = (directions @ normals.T).clamp_min(0)
    fine = visibility(
        c * _ENLARGED, normals, points * _ENLARGED, directions, 0.006, _EXTENT * _ENLARGED, _CENTRE, _CELLS
    )
    coarse = visibility(c, normals, c[head], directions, 0.008)
    weight = front.sum(0).clamp_min(1e-6)
    left = ((front * fine).sum(0) + 0.02 * weight) / ((front * coarse).sum(0) + 0.02 * weight)
    return left.clamp(0.05, 1.0)[:, None]
