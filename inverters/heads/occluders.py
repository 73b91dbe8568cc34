"""Occluders by name: make one for N heads, or draw and animate the parameters of one."""

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
"""Occluders by the name that `invid sample --occluder` takes."""


def make_occluder(name: str, values: Values, state: Mapping[str, Tensor] | None = None) -> Occluder:
    """Return the occluder called `name` on N heads.

    Args:
        name: one of OCCLUDERS.
        values: the heads' parameters from `to_values`, [N,1] each.
        state: the occluder's own parameters, [N,1] each; missing ones take the middle of their range.

    Raises:
        UnknownNameError: the name is not in OCCLUDERS.
        KeyError: it has no such parameter.
    """
    return _get(name)(values, state)


def animate_occluder(name: str, times: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw an occluder's parameters, uniform in their ranges, and animate them.

    Returns:
        The parameters by name, [T,1] each, at `times` [T] in seconds.
    """
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
