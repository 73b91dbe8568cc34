"""Earrings: studs, then rings of growing size, at the lobes of the ears."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body import gender_of
from inverters.people.labels import JEWELLERY
from inverters.people.params import Values
from inverters.people.wear.head import Head
from inverters.people.wear.piece import Piece, ellipsoid, merged, tube

_GOLD, _SILVER = (0.62, 0.40, 0.12), (0.55, 0.55, 0.56)


def size_of(values: Values, row: int = 0) -> float:
    """Return 0 for none, to 0.4 for studs, to 1 for large rings; women wear more of them."""
    start = 0.94 - 0.273 * gender_of(values, row)
    return max(0.0, (float(values["earrings"][row, 0]) - start) / (1 - start))


def earrings(values: Values, row: int, head: Head) -> Piece | None:
    """Return the earrings that a person wears, or None."""
    size = size_of(values, row)
    if size <= 0:
        return None
    lobe, normal = head.at((0.171, -0.056, -0.004), (-0.171, -0.056, -0.004))
    low, _ = head.at((0.1645, -0.0692, -0.006), (-0.1645, -0.0692, -0.006))
    surfaces = []
    for side in range(2):
        normal_ = F.normalize(normal[side], dim=0)
        if size < 0.4:
            radius = 0.0022 + 0.0075 * size
            surfaces.append(ellipsoid(lobe[side] + 0.5 * radius * normal_, radius * torch.eye(3).to(lobe)))
        else:
            surfaces.append(_hoop(lobe[side], low[side], normal_, 0.010 + 0.034 * (size - 0.4)))
    vertices, normals, triangles = merged(surfaces)
    warm = float(values["skin_warmth"][row, 0])
    metal = torch.tensor(_GOLD if warm > -0.2 else _SILVER).to(vertices)
    ones = vertices.new_ones(len(vertices))
    return Piece(vertices, normals, metal.expand_as(vertices), 1.2 * ones, triangles, JEWELLERY)


def _hoop(lobe: Tensor, low: Tensor, normal: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """A ring that hangs from the lobe, seen from the side and a little from the front."""
    out = F.normalize(normal * normal.new_tensor([1.0, 0.0, 0.35]), dim=0)
    top = 0.5 * (lobe + low) + 0.002 * normal
    turn = torch.arange(40, device=lobe.device) * (2 * torch.pi / 40)
    down = lobe.new_tensor([0.0, -1.0, 0.0])
    ahead = F.normalize(torch.linalg.cross(down, out), dim=0)
    path = top + radius * ((1 - torch.cos(turn))[:, None] * down + torch.sin(turn)[:, None] * 0.94 * (0.55 * out + 0.83 * ahead))
    across = lobe.new_tensor([[0.0018, 0.0018]])
    centre = top + radius * down
    return tube(path, across, path - centre, 7, True)
