"""The time line: runs with reasons, marks at round frames and seconds, whatever the frame rate does."""

from __future__ import annotations

import pytest

from pipeline.report.timeline import frame_times, timeline


def test_runs_carry_reasons_in_words() -> None:
    manifest = {
        "settings": {"track": {"max_gap": 0.25}},
        "per_frame": {"status": [0, 2, 2, 1, 2], "time": [0.0, 0.1, 0.2, 0.3, 0.4]},
    }
    found = timeline(manifest)
    assert found is not None and found.total == 5
    assert [(run.frames, run.seconds, run.reason) for run in found.runs] == [
        ("frame 0", "0.00 s", "no face: frame passed through untouched"),
        ("frames 1 to 2", "0.10 to 0.20 s", "found"),
        ("frame 3", "0.30 s", "face lost for at most 0.25 s: landmarks interpolated"),
        ("frame 4", "0.40 s", "found"),
    ]
    assert [(kind.status, kind.count, kind.share) for kind in found.legend] == [
        (2, 3, 60.0), (1, 1, 20.0), (0, 1, 20.0),
    ]  # fmt: skip


def test_a_reason_of_its_own_is_shown_for_frames_that_are_not_edited() -> None:
    said = [None, "other person", "other person", "no face", None]
    found = timeline({"per_frame": {"status": [2, 0, 0, 0, 2], "reason": said}})
    assert found is not None
    assert [(run.start, run.stop, run.reason) for run in found.runs][1:3] == [
        (1, 3, "other person: frame passed through untouched"),
        (3, 4, "no face: frame passed through untouched"),
    ]
    assert [kind.reason for kind in found.legend if kind.status == 0] == [
        "not edited: frame passed through untouched"
    ]


def test_marks_stand_at_the_middle_of_frames_and_at_round_seconds() -> None:
    times = [i / 30 for i in range(300)]
    found = timeline({"per_frame": {"status": [2] * 300, "time": times}})
    assert found is not None
    assert [tick.text for tick in found.frame_ticks] == ["0", "50", "100", "150", "200", "250"]
    assert found.frame_ticks[1].place == pytest.approx(100 * 50.5 / 300)
    assert [tick.text for tick in found.second_ticks] == ["0", "2", "4", "6", "8"]
    assert found.second_ticks[1].place == pytest.approx(100 * 60.5 / 300)


def test_seconds_follow_a_variable_frame_rate() -> None:
    times = [0.0, 0.5, 1.0, 3.0, 5.0]
    found = timeline({"per_frame": {"status": [2] * 5, "time": times}})
    assert found is not None
    places = {tick.text: tick.place for tick in found.second_ticks}
    assert places["1"] == pytest.approx(50.0) and places["2"] == pytest.approx(60.0)
    assert places["3"] == pytest.approx(70.0)


@pytest.mark.parametrize("times", [[], [0.0, None], [0.0, 0.0], [0.0, float("nan")], ["a", "b"]])
def test_without_usable_times_there_are_no_seconds(times: list) -> None:
    manifest = {"per_frame": {"status": [2, 2], "time": times}}
    found = timeline(manifest)
    assert frame_times(manifest) == []
    assert found is not None and found.second_ticks == [] and found.runs[0].seconds == ""


def test_an_unknown_status_is_shown_as_such() -> None:
    found = timeline({"per_frame": {"status": [2, 7, "x"]}})
    assert found is not None
    assert [run.reason for run in found.runs] == ["found", "unknown", "unknown"]
    assert timeline({}) is None
