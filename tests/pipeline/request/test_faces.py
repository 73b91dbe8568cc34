"""`--face` as text and back, and what it cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.request.edits import Edit
from pipeline.request.face_settings import all_edits, faces_of, settings_of_face
from pipeline.request.faces import Face, format_face, parse_face
from pipeline.request.options import parse, to_mapping, to_words

EDITS = st.builds(Edit, st.sampled_from(["smile", "age"]), st.integers(-9, 9).map(float))
FACES = st.builds(Face, st.integers(0, 99), st.lists(EDITS, max_size=3).map(tuple))


@given(FACES)
def test_the_text_of_a_face_is_read_back(face: Face) -> None:
    assert parse_face(format_face(face)) == face


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a whole number"),
        ("-1", "0 or more"),
        ("100", "99 or less"),
        ("1:", "has no edit"),
        ("x:smile=1", "not a whole number"),
        ("1:smile", "cannot be read"),
        ("1:smile=1,", "cannot be read"),
        ("1:smile=99", "strengths go from"),
    ],
)
def test_what_is_no_face_is_one_line(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        parse_face(text)
    assert "\n" not in str(error.value)


def test_faces_of_a_command_line_have_their_own_edits_and_those_of_all() -> None:
    words = ["a.mp4", "--face", "0:smile=1", "--face=2:age=1@0-1s,smile=2", "--edit", "hat=1"]
    request = parse(words)
    hat, smile = Edit("hat", 1.0), Edit("smile", 1.0)
    assert [face.number for face in faces_of(request.settings)] == [0, 2]
    first, second = (settings_of_face(request.settings, place) for place in (0, 1))
    assert first.edit.edits == (hat, smile) and first.track.face == (Face(0),)
    assert second.edit.edits == (hat, Edit("age", 1.0, 0.0, 1.0), Edit("smile", 2.0))
    assert set(all_edits(request.settings)) == {*first.edit.edits, *second.edit.edits}
    assert parse(["a.mp4", *to_words(to_mapping(request))]) == request
    assert faces_of(parse(["a.mp4"]).settings) == (Face(0),)
