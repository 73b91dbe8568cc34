"""Random requests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pipeline.request.edits import MAX_STRENGTH, MAX_VIEW, Edit, View
from pipeline.request.faces import Face
from pipeline.request.fields import Field, assembled
from pipeline.request.options import request_fields
from pipeline.request.settings import Request

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SECONDS = st.floats(0, 1e5) | st.sampled_from([0.1234567891, 1e-7, 100.0])
PATHS = WORDS.filter(lambda word: "\0" not in word).map(Path)


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    name = draw(st.from_regex(r"[A-Za-z][\w.-]{0,8}", fullmatch=True))
    start, stop = draw(st.none() | SECONDS), draw(st.none() | SECONDS)
    if start is not None and stop is not None and stop <= start:
        stop = start + 1
    return Edit(name, draw(st.floats(-MAX_STRENGTH, MAX_STRENGTH)), start, stop)


@st.composite
def faces(draw: st.DrawFn) -> Face:
    return Face(draw(st.integers(0, 99)), tuple(draw(st.lists(edits(), max_size=3))))


ANGLES = st.floats(-MAX_VIEW, MAX_VIEW)
VIEWS = st.builds(View, ANGLES, ANGLES) | st.just(View(orbit=True))
OWN: dict[str, Any] = {
    "edit": st.lists(edits(), max_size=4).map(tuple),
    "face": st.lists(faces(), max_size=3).map(tuple),
    "view": VIEWS,
    "out": PATHS,
    "cache": PATHS | st.just("s3://bucket/folder"),
    "threads": st.integers(1, 99),
    "frame_rate": st.fractions(Fraction(1, 100), 1000, max_denominator=1001).map(str),
}


def values(field: Field) -> st.SearchStrategy[Any]:
    """Values that a field can have, whether or not they make sense."""
    if field.key in OWN:
        return OWN[field.key]
    if field.choices:
        return st.sampled_from(field.choices)
    one: Any = {bool: st.booleans(), int: st.integers(), float: NUMBERS, str: WORDS}[field.type]
    return st.lists(one, max_size=4).map(tuple) if field.many else one


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request with some options given."""
    chosen = draw(st.lists(st.sampled_from(request_fields()), unique_by=lambda field: field.key))
    found = {field.at: draw(values(field)) for field in chosen}
    preset = ("settings", "invert", "preset")
    if preset in found or draw(st.booleans()):
        found["preset_chosen",] = preset in found
    return assembled(Request(Path("clip.mp4")), found)
