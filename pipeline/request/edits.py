"""Edits and views: values, and the text for them: `smile=1.5@0.5-1.2s`, `yaw=0.3,pitch=-0.1`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from pipeline.errors import UnknownNameError, UserError
from pipeline.request.fields import number

if TYPE_CHECKING:
    from pipeline.clip import F64

MAX_STRENGTH = 10.0
"""Largest strength of an edit, in standard deviations: beyond it a generator renders no face."""
MAX_VIEW = 1.2
"""Largest angle of a view, in radians: a face generator has no back of the head."""

MOST_LISTED = 60
"""Most names listed in an error message; a basis has hundreds."""

_EDIT = re.compile(r"(?P<name>[A-Za-z][\w.-]*)=(?P<strength>[^@]+)(?:@(?P<range>.+))?")
_RANGE = re.compile(r"(?P<start>[0-9]*\.?[0-9]*)-(?P<stop>[0-9]*\.?[0-9]*)s?")


@dataclass(frozen=True)
class Edit:
    """Move the codes along direction `name` by `strength` of its steps.

    A step of the generator's own directions is one standard deviation of the parameter. start, stop: bounds
    in seconds, eased in and out; None for the clip's begin and end.
    """

    name: str
    strength: float
    start: float | None = None
    stop: float | None = None


@dataclass(frozen=True)
class View:
    """A novel view: angles in radians added to each frame's camera, or a full orbit over the clip."""

    yaw: float = 0.0
    pitch: float = 0.0
    orbit: bool = False


def parse_edit(text: str) -> Edit:
    """`NAME=VALUE` or `NAME=VALUE@A-Bs` (seconds; A or B may be left out). Raises UserError."""
    match = _EDIT.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"--edit '{text}' cannot be read; write NAME=VALUE or NAME=VALUE@A-Bs, as smile=1.5@0.5-1.2s"
        )
    strength = number(match["strength"], f"--edit '{text}'")
    if abs(strength) > MAX_STRENGTH:
        raise UserError(f"--edit '{text}': strengths go from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}")
    if match["range"] is None:
        return Edit(match["name"], strength)
    bounds = _RANGE.fullmatch(match["range"].strip())
    if bounds is None or not (bounds["start"] or bounds["stop"]):
        raise UserError(f"--edit '{text}': the time range is written @A-Bs in seconds, as @0.5-1.2s")
    start = number(bounds["start"], f"--edit '{text}'") if bounds["start"] else None
    stop = number(bounds["stop"], f"--edit '{text}'") if bounds["stop"] else None
    if start is not None and stop is not None and stop <= start:
        raise UserError(f"--edit '{text}': the range ends at {stop:g} s, before it starts at {start:g} s")
    return Edit(match["name"], strength, start, stop)


def format_edit(edit: Edit) -> str:
    """The text that `parse_edit` reads back."""
    text = f"{edit.name}={edit.strength!r}"
    if edit.start is None and edit.stop is None:
        return text
    start = "" if edit.start is None else _plain(edit.start)
    stop = "" if edit.stop is None else _plain(edit.stop)
    return f"{text}@{start}-{stop}s"


def format_view(view: View) -> str:
    """The text that `parse_view` reads back."""
    return "orbit" if view.orbit else f"yaw={view.yaw!r},pitch={view.pitch!r}"


def parse_view(text: str) -> View:
    """`yaw=0.3,pitch=-0.1` (radians, either may be left out) or `orbit`. Raises UserError."""
    if text.strip() == "orbit":
        return View(orbit=True)
    angles = {"yaw": 0.0, "pitch": 0.0}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in angles:
            raise UserError(f"--view '{text}' cannot be read; write orbit, or yaw=0.3,pitch=-0.1 in radians")
        angles[name] = number(value, f"--view '{text}'")
        if abs(angles[name]) > MAX_VIEW:
            raise UserError(
                f"--view '{text}': {name} is in radians and goes from -{MAX_VIEW:g} to {MAX_VIEW:g}"
            )
    return View(yaw=angles["yaw"], pitch=angles["pitch"])


def check_names(edits: Iterable[Edit], known: Iterable[str]) -> None:
    """Raise UnknownNameError, which lists the known edits, unless every edit is one of them."""
    names = sorted(known)
    for edit in edits:
        if edit.name not in names:
            if same := [name for name in names if name.endswith(f".{edit.name}")]:
                raise UnknownNameError(f"edit '{edit.name}' can mean several; write {' or '.join(same)}")
            listed = ", ".join(names[:MOST_LISTED]) if names else "none, as this generator has no directions"
            more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
            raise UnknownNameError(f"unknown edit '{edit.name}'; known: {listed}{more}")


def check_times(edits: Iterable[Edit], times: F64, duration: float, ease: float) -> None:
    """Raise UserError for an edit that would begin after the clip has ended, or lies between two frames.

    times [T]: of the frames, in seconds from the clip's start; ease: seconds over which edits come and go.
    """
    for edit in edits:
        text = format_edit(edit)
        if edit.start is not None and edit.start >= duration:
            raise UserError(
                f"--edit '{text}' begins at {edit.start:g} s, but the clip ends at {duration:.3g} s"
            )
        start = -math.inf if edit.start is None else edit.start
        stop = math.inf if edit.stop is None else edit.stop
        # With an ease, the edit has no strength yet at its very start and stop.
        shown = (times > start) & (times < stop) if ease > 0 else (times >= start) & (times <= stop)
        if not shown.any():
            near = [*times[times <= start][-1:], *times[times >= stop][:1]]
            frames = " and ".join(f"{time:.3f} s" for time in near)
            raise UserError(
                f"--edit '{text}' shows in no frame: the nearest are at {frames}; widen its range"
            )


def check_once(edits: Sequence[Edit]) -> None:
    """Raise UserError for an edit that is given twice, and for edits of one name that add up to too much."""
    for place, edit in enumerate(edits):
        if edit in edits[:place]:
            raise UserError(f"--edit '{format_edit(edit)}' is given twice; give it once")
        at = edit.start or 0.0
        total = sum(other.strength for other in edits if other.name == edit.name and _is_active(other, at))
        if abs(total) > MAX_STRENGTH:
            raise UserError(
                f"--edit {edit.name}: its edits add up to {total:g} at {at:g} s; strengths go from "
                f"-{MAX_STRENGTH:g} to {MAX_STRENGTH:g}"
            )


def edit_notes(edits: Sequence[Edit]) -> list[str]:
    """What a user should know: edits of no strength, and edits of one name that overlap."""
    notes = [
        f"edit '{format_edit(edit)}' has no strength and changes nothing"
        for edit in edits
        if edit.strength == 0
    ]
    for name in dict.fromkeys(edit.name for edit in edits):
        same = [edit for edit in edits if edit.name == name]
        if any(sum(_is_active(other, edit.start or 0.0) for other in same) > 1 for edit in same):
            notes.append(f"the edits of '{name}' overlap, and add up where they do")
    return notes


def _is_active(edit: Edit, time: float) -> bool:
    return (edit.start or 0.0) <= time and (edit.stop is None or time < edit.stop)


def _plain(value: float) -> str:
    """All digits of a number, without an exponent."""
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
