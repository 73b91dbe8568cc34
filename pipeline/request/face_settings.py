"""The settings of a request for several faces as those of a request for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import UserError
from pipeline.request.edits import Edit
from pipeline.request.faces import Face
from pipeline.request.settings import Settings

MOST_FACES = 16
"""Faces of one request."""


def faces_of(settings: Settings) -> tuple[Face, ...]:
    """The faces asked for; the largest where none is named."""
    return settings.track.face or (Face(0),)


def settings_of_face(settings: Settings, place: int) -> Settings:
    """The settings as those of a request for one face: the one at this place among the faces asked for."""
    face = faces_of(settings)[place]
    edits = (*settings.edit.edits, *face.edits)
    return replace(
        settings,
        track=replace(settings.track, face=(Face(face.number),)),
        edit=replace(settings.edit, edits=edits),
    )


def all_edits(settings: Settings) -> tuple[Edit, ...]:
    """The edits of all faces, each once."""
    own = (edit for face in faces_of(settings) for edit in face.edits)
    return tuple(dict.fromkeys((*settings.edit.edits, *own)))


def check_faces(faces: Sequence[Face], settings: Settings) -> None:
    """Raise UserError for a face asked for twice, too many, or settings that are for one face."""
    numbers = [face.number for face in faces]
    for number in numbers:
        if numbers.count(number) > 1:
            raise UserError(f"--face {number} is given twice; write --face {number}:NAME=VALUE,NAME=VALUE")
    if len(faces) > MOST_FACES:
        raise UserError(f"--face is given {len(faces)} times; {MOST_FACES} is the most")
    if len(faces) < 2:
        return
    single = {
        "--view": settings.edit.view is not None,
        "--crops": settings.encode.crops,
        "--cameras": settings.camera.labels is not None,
    }
    for option, given in single.items():
        if given:
            raise UserError(f"{option} is for one face, and --face names {len(faces)}; give one --face")
