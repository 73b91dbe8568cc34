"""What a person is drawn from: meshes and strands with colours as displayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Mesh:
    """A coloured mesh of V vertices and T triangles."""

    vertices: Tensor
    """[V,3] in world units."""
    colours: Tensor
    """[V,3] display values in [0,1]; [V,4] with alpha if it is translucent."""
    triangles: Tensor
    """[T,3] int32, counter-clockwise from outside."""
    labels: Tensor
    """[T] uint8."""
    two_sided: bool = False


@dataclass(frozen=True)
class Strands:
    """S strands of K points."""

    points: Tensor
    """[S,K,3] in world units."""
    colours: Tensor
    """[S,K,3] display values in [0,1]."""
    radius: Tensor | float
    """In world units, [S] or the same for all."""
    opacity: float
    """Coverage of a sample by one strand as wide as the sample."""
    soft: float
    """Strands within this distance of the nearest share their colour, in world units."""
    label: int


def joined(meshes: Sequence[Mesh]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return vertices, colours, triangles, labels and two-sided [T] of all meshes as one."""
    start, triangles = 0, []
    for mesh in meshes:
        triangles.append(mesh.triangles + start)
        start += len(mesh.vertices)
    sided = [torch.full((len(m.triangles),), m.two_sided, device=m.triangles.device) for m in meshes]
    return (
        torch.cat([m.vertices for m in meshes]),
        torch.cat([m.colours for m in meshes]),
        torch.cat(triangles).int(),
        torch.cat([m.labels for m in meshes]),
        torch.cat(sided),
    )


def normals_of(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Return unit normals [V,3], weighted by the triangles' areas."""
    corners = triangles.long()
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    face = torch.linalg.cross(b - a, c - a)
    summed = torch.zeros_like(vertices)
    for k in range(3):
        summed.index_add_(0, corners[:, k], face)
    return F.normalize(summed, dim=-1, eps=1e-12)
