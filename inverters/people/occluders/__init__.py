"""Occluders by name: put one before a person, or draw and animate the parameters of one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from inverters.errors import UnknownNameError
from inverters.people.occluders.base import Occluder
from inverters.people.occluders.glass import DrinkingGlass
from inverters.people.occluders.hand import Hand
from inverters.people.occluders.hat import Cap
from inverters.people.occluders.mask import SurgicalMask
from inverters.people.occluders.microphone import Microphone
from inverters.people.occluders.paint import FacePaint
from inverters.people.occluders.scarf import Scarf
from inverters.people.occluders.sunglasses import Sunglasses
from inverters.people.person import Person
from inverters.people.picture import Extra

__all__ = ["OCCLUDERS", "Occluder", "animate_occluder", "make_occluder"]

OCCLUDERS: dict[str, type[Occluder]] = {
    "mask": SurgicalMask,
    "sunglasses": Sunglasses,
    "hand": Hand,
    "paint": FacePaint,
    "microphone": Microphone,
    "hat": Cap,
    "scarf": Scarf,
    "glass": DrinkingGlass,
}
"""Occluders by the name that `invid sample --occluder` takes."""


@torch.no_grad()
def make_occluder(name: str, person: Person, state: Mapping[str, Tensor] | None = None) -> Extra:
    """Return the occluder called `name` before a person.

    Args:
        name: one of OCCLUDERS.
        person: from `make_person`; the occluder fits its shape at its expression, and takes its light.
        state: the occluder's own parameters, [1,1] each; missing ones take the middle of their range.

    Raises:
        UnknownNameError: the name is not in OCCLUDERS.
        KeyError: it has no such parameter.
    """
    kind = _get(name)
    known = {p.name: (p.low + p.high) / 2 for p in kind.parameters}
    if unknown := set(state or {}) - set(known):
        raise KeyError(f"unknown parameters {sorted(unknown)} of {name}; known: {', '.join(known)}")
    return kind.build(person, known | {n: float(value) for n, value in (state or {}).items()})


def animate_occluder(name: str, times: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw an occluder's parameters, uniform in their ranges, and animate them.

    Returns:
        The parameters by name, [T,1] each, at `times` [T] in seconds.

    Raises:
        UnknownNameError: the name is not in OCCLUDERS.
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
