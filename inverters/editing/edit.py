"""Semantic edits: codes moved along named directions, over all of a clip or part of it.

In-N-Out, section 4.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from inverters.base import Inversion
from inverters.editing.directions import Direction
from inverters.editing.local_basis import LocalBasis
from inverters.editing.named_parameters import named_change
from inverters.errors import InverterError, UnknownNameError
from inverters.fitting.schedules import smoothstep
from inverters.fitting.spaces import along_arc, mapped_rows, moved


class EditLike(Protocol):
    """An edit by `strength` units along direction `name`, between `start` and `stop` seconds if given."""

    @property
    def name(self) -> str:
        """Name of the direction."""

    @property
    def strength(self) -> float:
        """Strength in units of the direction."""

    @property
    def start(self) -> float | None:
        """Seconds at which the edit begins; None: from the first frame."""

    @property
    def stop(self) -> float | None:
        """Seconds at which it ends; None: to the last frame."""


def edit_codes(
    ws: Tensor,
    times: Tensor | Sequence[float],
    edits: Sequence[EditLike],
    directions: Mapping[str, Direction],
    ease: float = 0.2,
) -> Tensor:
    """Return codes with all edits applied; the given ones are not changed.

    Args:
        ws: codes [K,num_ws,w_dim].
        times: [K] in seconds, on the same clock as the edits' bounds.
        edits: any number; each one adds its strength times its direction.
        directions: by name. A direction whose step depends on the code (a mapper) is given the unedited code,
            so that the order of edits does not matter.
        ease: seconds of the ramp after `start` and before `stop`; there is none at a bound that is None.

    Returns:
        [K,num_ws,w_dim].

    Raises:
        UnknownNameError: there is no direction for an edit; the message lists those that exist.
        InverterError: a direction has another shape, or the numbers of codes and times differ.
    """
    amounts = [float(t) for t in times]
    if len(amounts) != len(ws):
        raise InverterError(
            f"{len(ws)} codes were given with {len(amounts)} times; one time a code is needed"
        )
    edited = ws
    for edit in edits:
        if edit.name not in directions:
            listed = ", ".join(sorted(directions)) or "none; this generator has no directions"
            raise UnknownNameError(f"unknown edit '{edit.name}'; known: {listed}")
        try:
            offset = directions[edit.name].offset(ws)
        except InverterError as error:
            raise InverterError(f"direction '{edit.name}' cannot be used: {error}") from None
        presence = torch.tensor([edit_presence(edit, t, ease) for t in amounts]).to(ws)
        edited = edited + edit.strength * presence[:, None, None] * offset
    return edited


@torch.no_grad()
def edit_inversion(
    generator: Any,
    inversion: Inversion,
    times: Tensor | Sequence[float],
    edits: Sequence[EditLike],
    directions: Mapping[str, Direction],
    ease: float = 0.2,
) -> Tensor:
    """Return the codes [K,num_ws,w_dim] of an inversion with all edits applied.

    Where the inversion has rows of z, directions in z and those with a coordinate of z move these, which are
    then retracted (Z+, section 3.3), so that codes stay within the space at any strength: first by the sum of
    all steps that are taken at once, then along the arc of the sum of the others. Where it has none, those
    with a coordinate of z move codes of w by what that does to the nearest face (`named_change`). All others
    move w by a step. Arguments and errors as in `edit_codes`; `generator` is that of the codes.

    Raises:
        InverterError: also where a direction is in z, and the codes are not.
    """
    z, known = inversion.latent.get("z"), [edit for edit in edits if edit.name in directions]
    in_z = [edit for edit in known if _moves_z(directions[edit.name], z is not None)]
    named = [] if z is not None else [e for e in known if directions[e.name].coordinate is not None]
    plain = [edit for edit in edits if edit not in in_z and edit not in named]
    ws = edit_codes(inversion.ws, times, plain, directions, ease)
    if named:
        ws = ws + _named_change(generator, inversion.ws, times, named, directions, ease)
    if not in_z:
        return ws
    if z is None:
        name = in_z[0].name
        raise InverterError(
            f"direction '{name}' is in {directions[name].space}, but these codes were fitted in "
            f"{inversion.info.get('space', 'w or w+')}, where no z is known; fit them in z+ or f/z+"
        )
    steps = {arc: torch.zeros_like(z) for arc in (False, True)}
    for edit in in_z:
        direction = directions[edit.name]
        presence = torch.tensor([edit_presence(edit, float(t), ease) for t in times]).to(z)
        steps[direction.arc] += (
            edit.strength * presence[:, None, None] * _offset(generator, edit, direction, z)
        )
    touched = (steps[False] != 0).flatten(1).any(1) | (steps[True] != 0).flatten(1).any(1)
    if touched.any():
        device = generator.backbone.mapping.w_avg.device
        after = along_arc(moved(z, steps[False]), steps[True])
        change = mapped_rows(generator, after[touched].to(device)) - mapped_rows(
            generator, z[touched].to(device)
        )
        ws = ws.index_add(0, touched.nonzero()[:, 0], change.to(ws))
    return ws


def _named_change(
    generator: Any,
    ws: Tensor,
    times: Tensor | Sequence[float],
    edits: Sequence[EditLike],
    directions: Mapping[str, Direction],
    ease: float,
) -> Tensor:
    """What edits of named parameters add to codes ws [K,num_ws,w_dim]: [K,1,w_dim]."""
    steps = torch.zeros(len(ws), len(generator.card.parameters))
    for edit in edits:
        presence = torch.tensor([edit_presence(edit, float(t), ease) for t in times])
        steps[:, directions[edit.name].coordinate] += edit.strength * presence
    return named_change(generator, ws, steps)


def _moves_z(direction: Direction, is_known: bool) -> bool:
    """Whether a direction moves codes of z; `is_known`: there are some."""
    return direction.codes == "z" or (is_known and direction.coordinate is not None)


def _offset(generator: Any, edit: EditLike, direction: Direction, z: Tensor) -> Tensor:
    """What a strength of one adds to codes z [K,num_ws,z_dim], in a shape that broadcasts to them."""
    if isinstance(direction.step, LocalBasis):
        return direction.step.step(generator, z)
    if direction.codes == "w":
        unit = z.new_zeros(z.shape[-1])
        unit[direction.coordinate] = 1.0
        return unit
    try:
        return direction.offset(z)
    except InverterError as error:
        raise InverterError(f"direction '{edit.name}' cannot be used: {error}") from None


def edit_presence(edit: EditLike, time: float, ease: float) -> float:
    """Return the share in [0,1] of an edit's strength at `time` seconds: smoothstep ramps inside its bounds.

    If the range is shorter than both ramps, they are shortened to meet in its middle.
    """
    start, stop = edit.start, edit.stop
    if (start is not None and time < start) or (stop is not None and time > stop):
        return 0.0
    if start is not None and stop is not None:
        ease = min(ease, (stop - start) / 2)
    if ease <= 0:
        return 1.0
    coming = 1.0 if start is None else smoothstep((time - start) / ease)
    going = 1.0 if stop is None else smoothstep((stop - time) / ease)
    return min(coming, going)
