"""All that a person wears."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.body import Body, Shape
from inverters.people.light import Light
from inverters.people.params import Values
from inverters.people.parts import Mesh
from inverters.people.wear.clothes import clothes
from inverters.people.wear.piece import Piece, lit


@dataclass(frozen=True)
class Worn:
    """What a person wears, before it is lit."""

    pieces: list[Piece]
    hidden: Tensor
    """Bool [T2]: triangles of the body's level 2 that lie under clothes and are not drawn."""

    def occluders(self) -> Tensor:
        """Return points [P,3] that cast shadows."""
        return torch.cat([p.vertices for p in self.pieces])

    def coloured(self, light: Light) -> tuple[list[Mesh], list[Mesh]]:
        """Return the opaque meshes and the translucent ones, in the colours that are displayed."""
        return lit(self.pieces, light), []


@torch.no_grad()
def dress(values: Values, row: int, mesh: Body, shape: Shape) -> Worn:
    """Return what person `row` of these values [N,1] wears."""
    worn = clothes(values, row, mesh, shape)
    return Worn(worn.pieces, worn.hidden)
