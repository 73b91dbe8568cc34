"""Edits and views: values, and the text for them: `smile=1.5@0.5-1.2s`, `yaw=0.3,pitch=-0.1`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from pipeline.errors import UnknownNameError, UserError
from pipeline.request.fields import number

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


def check_times(edits: Iterable[Edit], duration: float) -> None:
    """Raise UserError for an edit that would begin after the clip has ended."""
    for edit in edits:
        if edit.start is not None and edit.start >= duration:
            raise UserError(
                f"--edit '{format_edit(edit)}' begins at {edit.start:g} s, "
                f"but the clip ends at {duration:.3g} s"
            )


def _plain(value: float) -> str:
    """All digits of a number, without an exponent."""
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
