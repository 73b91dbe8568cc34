"""What is typed for edits and views."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverters.editing.edit import edit_presence
from pipeline.errors import UnknownNameError, UserError
from pipeline.request.edits import (
    Edit,
    View,
    check_names,
    check_once,
    check_times,
    edit_notes,
    format_edit,
    parse_edit,
    parse_view,
)

names = st.from_regex(r"[a-z][a-z0-9_]{0,11}", fullmatch=True)
seconds = st.integers(0, 3_600_000).map(lambda ms: ms / 1000)


@given(names, st.floats(-10, 10), st.none() | seconds, st.none() | seconds)
def test_what_is_formatted_is_parsed_back(
    name: str, strength: float, start: float | None, stop: float | None
) -> None:
    if start is not None and stop is not None:
        start, stop = (min(start, stop), max(start, stop)) if start != stop else (start, None)
    edit = Edit(name, strength, start, stop)
    assert parse_edit(format_edit(edit)) == edit


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("smile=1.5", Edit("smile", 1.5)),
        ("smile=-2@0.5-1.2s", Edit("smile", -2, 0.5, 1.2)),
        ("hair_colour=+.5@1-2", Edit("hair_colour", 0.5, 1, 2)),
        ("age=1@0.5-s", Edit("age", 1, 0.5, None)),
        ("age=1@-3s", Edit("age", 1, None, 3)),
        ("age=1e0", Edit("age", 1)),
    ],
)
def test_the_forms(text: str, edit: Edit) -> None:
    assert parse_edit(text) == edit


@pytest.mark.parametrize("text", ["", "smile", "smile=", "=1", "smile=1=2", "sm/ile=1"])
@pytest.mark.parametrize("tail", ["", "@1-2s"])
def test_what_is_no_edit_is_refused_in_one_line(text: str, tail: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_edit(text + tail)
    assert text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["big", "nan", "inf", "11", "-10.5", "1@", "1@-s", "1@2-1s", "1@1-1s", "1@a-b"]
)
def test_values_that_cannot_be_meant_are_refused_in_one_line(value: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_edit(f"smile={value}")
    assert value in str(caught.value) and "\n" not in str(caught.value)


def test_views() -> None:
    assert parse_view("orbit") == View(orbit=True)
    assert parse_view("yaw=0.3,pitch=-0.1") == View(0.3, -0.1)
    assert parse_view("pitch=.2") == View(0.0, 0.2)
    for text in ("", "yaw", "yaw=", "roll=1", "yaw=30", "yaw=x", "orbit,yaw=1"):
        with pytest.raises(UserError):
            parse_view(text)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown edit 'simle'; known: age, smile"):
        check_names([Edit("age", 1), Edit("simle", 1)], {"smile": 0, "age": 0})
    check_names([Edit("age", 1)], ["age"])


TIMES = np.arange(4) / 4  # a second at 4 frames a second


def test_a_range_beyond_the_end_is_refused() -> None:
    check_times([Edit("age", 1, 0.5, 99)], TIMES, 1.0, 0.2)
    with pytest.raises(UserError, match="ends at 1 s"):
        check_times([Edit("age", 1, 1.0, 2.0)], TIMES, 1.0, 0.2)


@pytest.mark.parametrize(
    ("start", "stop", "ease", "near"),
    [
        (0.3, 0.45, 0.2, "0.250 s and 0.500 s"),
        (0.3, 0.45, 0.0, "0.250 s and 0.500 s"),
        (0.25, 0.5, 0.2, "0.250 s and 0.500 s"),
        (0.8, None, 0.2, "0.750 s"),
        (None, 0.0, 0.2, "0.000 s"),
    ],
)
def test_a_range_between_two_frames_is_refused(
    start: float | None, stop: float | None, ease: float, near: str
) -> None:
    with pytest.raises(UserError, match=f"shows in no frame: the nearest are at {near}; widen"):
        check_times([Edit("age", 1, start, stop)], TIMES, 1.0, ease)


def test_a_range_with_one_frame_shows() -> None:
    """What is refused has no strength in any frame, and nothing else is."""
    for start, stop, ease in ((0.2, 0.3, 0.2), (0.25, 0.25001, 0.0), (0.7, None, 0.2), (None, 0.1, 0.2)):
        check_times([Edit("age", 1, start, stop)], TIMES, 1.0, ease)
        assert any(edit_presence(Edit("age", 1, start, stop), t, ease) > 0 for t in TIMES.tolist())


def test_an_edit_given_twice_is_refused_and_one_that_changes_nothing_told() -> None:
    with pytest.raises(UserError, match=r"--edit 'smile=1.0' is given twice; give it once"):
        check_once([parse_edit("smile=1"), parse_edit("age=1"), parse_edit("smile=1.0")])
    with pytest.raises(UserError, match="its edits add up to 15 at 1 s"):
        check_once([parse_edit("smile=9"), parse_edit("smile=6@1-2s")])
    parts = [parse_edit(text) for text in ("smile=9@0-1s", "smile=9@1-2s", "age=0", "smile=-1")]
    check_once(parts)
    assert edit_notes(parts) == [
        "edit 'age=0.0' has no strength and changes nothing",
        "the edits of 'smile' overlap, and add up where they do",
    ]
    assert edit_notes(parts[:2]) == []
