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
from inverters.people.wear.earrings import earrings
from inverters.people.wear.glasses import Glasses, glasses
from inverters.people.wear.head import Head
from inverters.people.wear.piece import Piece, lit


@dataclass(frozen=True)
class Worn:
    """What a person wears, before it is lit."""

    pieces: list[Piece]
    """Opaque: clothes, frames, earrings."""
    glassy: Glasses | None
    hidden: Tensor
    """Bool [T2]: triangles of the body's level 2 that lie under clothes and are not drawn."""

    def occluders(self) -> Tensor:
        """Return points [P,3] that cast shadows."""
        points = [p.vertices for p in self.pieces if self.glassy is None or p is not self.glassy.frame]
        if self.glassy is not None:
            points.append(self.glassy.shadows())
        return torch.cat(points)

    def coloured(self, light: Light) -> tuple[list[Mesh], list[Mesh]]:
        """Return the opaque meshes and the translucent ones, in the colours that are displayed."""
        return lit(self.pieces, light), [] if self.glassy is None else [self.glassy.glass(light)]


@torch.no_grad()
def dress(values: Values, row: int, mesh: Body, shape: Shape) -> Worn:
    """Return what person `row` of these values [N,1] wears."""
    worn = clothes(values, row, mesh, shape)
    head = Head(str(mesh.device), shape)
    pieces = worn.pieces
    pair = glasses(values, row, head)
    if pair is not None:
        pieces.append(pair.frame)
    ears = earrings(values, row, head)
    if ears is not None:
        pieces.append(ears)
    return Worn(pieces, pair, worn.hidden)
