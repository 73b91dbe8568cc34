"""Occluders of a face by name: each with its own parameters, an exact field, and a state for every frame."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from inverters.errors import UnknownNameError
from inverters.heads.anatomy import Values
from inverters.heads.occluder_base import Occluder
from inverters.heads.props import Microphone, PassingHand
from inverters.heads.wearables import FacePaint, HatBrim, Sunglasses, SurgicalMask

__all__ = ["OCCLUDERS", "Occluder", "animate_occluder", "make_occluder"]

OCCLUDERS: dict[str, type[Occluder]] = {
    "mask": SurgicalMask,
    "sunglasses": Sunglasses,
    "hand": PassingHand,
    "paint": FacePaint,
    "microphone": Microphone,
    "hat": HatBrim,
}
"""Every occluder by the name that `invid sample --occluder` takes."""


def make_occluder(name: str, values: Values, state: Mapping[str, Tensor] | None = None) -> Occluder:
    """The occluder called `name` on N heads.

    Args:
        values: the heads' parameters from `to_values`, [N,1] each.
        state: the occluder's own parameters, [N,1] each; None or a missing one takes the middle of its range.

    Returns:
        A field with `signed_distance(points [N,M,3]) -> [N,M]` and `radiance(points [N,M,3]) -> [N,M,3]`.

    Raises:
        UnknownNameError for a name not in OCCLUDERS, KeyError for a parameter it does not have.
    """
    return _get(name)(values, state)


def animate_occluder(name: str, times: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw an occluder's parameters, uniform in their ranges, and move them: [T,1] each at times [T] in s."""
    kind = _get(name)
    drawn = torch.rand(len(kind.parameters), generator=generator)
    state = {
        p.name: (p.low + (p.high - p.low) * u).reshape(1, 1).expand(len(times), 1)
        for p, u in zip(kind.parameters, drawn, strict=True)
    }
    return kind.animate(state, times)


def _get(name: str) -> type[Occluder]:
    if name not in OCCLUDERS:
        raise UnknownNameError(f"unknown occluder '{name}'; known: {', '.join(OCCLUDERS)}")
    return OCCLUDERS[name]
