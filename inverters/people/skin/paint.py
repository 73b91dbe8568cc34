"""Skin, lips and the inside of the mouth under a person's light, as displayed."""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.people.body import Body, Shape
from inverters.people.light import Lit, display
from inverters.people.params import Values
from inverters.people.skin.lines import strengths, turned
from inverters.people.skin.mouth import paint_mouth
from inverters.people.skin.places import Places, places
from inverters.people.skin.tone import albedo

_SCATTER = (10, 4, 2)
"""Averages over neighbours of red, green and blue light: subsurface scattering."""
_HOLLOW = (2, 8)
"""Averages over neighbours by which hollows are found, small and large."""


def paint_skin(
    values: Values,
    row: int,
    mesh: Body,
    shape: Shape,
    light: Lit,
    cover: Tensor | None = None,
    hair: Tensor | None = None,
) -> Tensor:
    """Return the display colours [V2,3] of the mesh: skin, ears, lips, mouth, teeth, tongue.

    Args:
        values: [N,1] by parameter name.
        row: the person's.
        mesh: its level 2 is painted.
        shape: the person's.
        light: at the vertices of level 1, with SKIN_WRAP.
        cover: [V2] in [0,1], share of the skin under hair of the head; None: none.
        hair: [3], the reflectance of that hair.
    """
    at = places(mesh)
    fine = mesh.to_fine @ _scattered(mesh, shape, light)
    irradiance, direction, openness, gloss, hollow = fine.split([3, 3, 1, 2, 2], 1)
    strength = strengths(values, row).to(fine)
    change, depth = turned(mesh, strength, shape.fine_normals, direction)
    change = change[:, None]
    colour = albedo(values, row, mesh, cover, hair)
    # Hollows lose light; what is left in them has met skin more often, and is redder.
    shut = (1 - openness).clamp(0, 1)
    dark = (0.45 * hollow[:, :1] + 0.45 * hollow[:, 1:]).clamp(-0.15, 1.2) + 0.22 * depth[:, None]
    dark = dark + 0.9 * at.mouth_corner[:, None]
    lost = torch.exp(-dark * irradiance.new_tensor([0.42, 0.58, 0.62]))
    lost = lost * (1 - at.nostril[:, None] * irradiance.new_tensor([0.86, 0.93, 0.95]))
    bumped = irradiance * (1 + 1.1 * change).clamp(0.4, 1.8) * lost
    bounced = 1 + 0.9 * shut * colour * irradiance.new_tensor([1.1, 0.8, 0.7])
    lit = colour * bumped * bounced + _shine(values, row, at, gloss, change, cover)
    lit = _inside(lit, at, bumped, openness)
    for index, painted in paint_mouth(values, row, mesh, shape, irradiance, openness[:, 0], gloss[:, 1]):
        lit = lit.index_copy(0, index, painted)
    return display(lit)


def _scattered(mesh: Body, shape: Shape, light: Lit) -> Tensor:
    """Irradiance after scattering, direction, openness, gloss and hollows at level 1, [V1,11]."""
    channels = []
    for c, times in enumerate(_SCATTER):
        channel = light.irradiance[:, c : c + 1]
        for _ in range(times):
            channel = mesh.smoothing @ channel
        channels.append(channel)
    hollows, points, done = [], shape.vertices, 0
    for times in _HOLLOW:
        for _ in range(times - done):
            points = mesh.smoothing @ points
        done = times
        outward = ((points - shape.vertices) * shape.normals).sum(1, keepdim=True)
        hollows.append(mesh.smoothing @ (outward / (0.0012 * times**0.5)).clamp(-1, 2))
    openness = mesh.smoothing @ light.openness[:, None]
    return torch.cat([*channels, light.dominant, openness, light.gloss, *hollows], 1)


def _shine(
    values: Values, row: int, at: Places, gloss: Tensor, change: Tensor, cover: Tensor | None
) -> Tensor:
    """Highlights [V2,3]: a wide and a narrow one, broken up by pores; lips are wet."""
    oil = 0.35 + 1.1 * float(values["shine"][row, 0])
    skin = at.oily * (1 - 0.55 * at.lids) * (1 - 0.7 * at.brow) * (1 - at.nostril)
    broken = ((1 + 2.5 * change[:, 0]) * (1 + 0.09 * at.pore + 0.08 * at.fine)).clamp(0, 2.5)
    wide, narrow = gloss.unbind(1)
    skin = skin * broken * (0.044 * wide * (0.6 + 0.4 * oil) + 0.034 * narrow * oil) * (1 - at.lips)
    wet = at.lips * narrow * 0.075 * (1 + 6 * change[:, 0]).clamp(0, 3)
    shine = skin + wet + 0.02 * at.lips * wide
    if cover is not None:
        shine = shine * (1 - 0.8 * cover)
    return shine[:, None].expand(-1, 3)


def _inside(lit: Tensor, at: Places, irradiance: Tensor, openness: Tensor) -> Tensor:
    """Skin [V2,3] with the lining of the mouth."""
    lining = lit.new_tensor([0.24, 0.055, 0.048]) * (irradiance * 0.5 + 0.03) * openness.clamp(0.10, 1)
    return torch.lerp(lit, lining, at.cavity[:, None])
