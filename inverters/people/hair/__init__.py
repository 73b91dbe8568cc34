"""Hair of people: head, beard, brows and lashes, grown on a person's mesh."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from inverters.people.body import Body, Shape
from inverters.people.hair.colour import hair_colour
from inverters.people.hair.face import beard, brows
from inverters.people.hair.hair import Hair, Tuft
from inverters.people.hair.hairline import growth, near_ears
from inverters.people.hair.head import head_hair
from inverters.people.hair.lashes import lashes
from inverters.people.hair.style import style_of
from inverters.people.params import Values
from inverters.people.ramps import rise_of


def grow(values: Values, row: int, mesh: Body, shape: Shape, head: Sequence[Tuft] | None = None) -> Hair:
    """Return the hair of person `row` of values [N,1] on the person's mesh.

    head: the hair of the head, from `head_hair` of the same person at any expression; None: grown here.
    """
    chin = beard(values, row, mesh, shape)
    face = [brows(values, row, mesh, shape), lashes(values, row, mesh, shape)]
    return Hair(
        [
            *face,
            *([] if chin is None else [chin]),
            *(head_hair(values, row, mesh, shape) if head is None else head),
        ]
    )


def scalp_cover(values: Values, row: int, mesh: Body) -> Tensor:
    """Return the share of hair over each vertex of the finest mesh [V2], in [0,1], to paint the scalp by."""
    style = style_of(values, row)
    ears = mesh.to_fine @ near_ears(mesh)
    dense = growth(mesh.level2.canonical, ears, style) * (mesh.level2.part == 0)
    return dense * (0.45 + 0.55 * rise_of(style.level, 0.02, 0.25))


__all__ = ["Hair", "Tuft", "grow", "hair_colour", "head_hair", "scalp_cover"]
