"""The faces that a request asks for: `--face 1`, or with own edits, `--face 0:smile=1 --face 1:age=2`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import UserError, shortened
from pipeline.request.edits import Edit, format_edit, parse_edit
from pipeline.request.fields import whole

_LARGEST_NUMBER = 99


@dataclass(frozen=True)
class Face:
    """A face by its number, 0 for the largest at the start, and edits of this face alone."""

    number: int
    edits: tuple[Edit, ...] = ()


def parse_face(text: str) -> Face:
    """`N` or `N:NAME=VALUE[@A-Bs],NAME=VALUE...`. Raises UserError."""
    number, colon, edits = text.strip().partition(":")
    value = whole(number, "--face")
    if value < 0:
        raise UserError(f"--face must be 0 or more, not {value}")
    if value > _LARGEST_NUMBER:
        raise UserError(f"--face must be {_LARGEST_NUMBER} or less, not {value}")
    if colon and not edits.strip():
        raise UserError(f"--face '{shortened(text)}' has no edit; write N:NAME=VALUE, as 0:smile=1")
    return Face(value, tuple(parse_edit(one) for one in edits.split(",")) if colon else ())


def format_face(face: Face) -> str:
    """The text that `parse_face` reads back."""
    edits = ",".join(format_edit(edit) for edit in face.edits)
    return f"{face.number}:{edits}" if edits else str(face.number)
