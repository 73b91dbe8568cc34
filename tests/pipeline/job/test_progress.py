"""Progress: something moves from the first second, plain where there is no terminal, silent when asked."""

from __future__ import annotations

import io
import re
import time

import pytest

from pipeline.job import progress as module
from pipeline.job.progress import Progress, TextProgress, clock


def test_clock() -> None:
    assert [clock(s) for s in (0.2, 8, 61, 3725)] == ["0 s", "8 s", "1:01", "1:02:05"]


def test_a_live_line_moves_without_any_report() -> None:
    out = io.StringIO()
    with TextProgress(out, live=True) as shown:
        shown.start("loading")
        time.sleep(0.7)
        frames = out.getvalue().split("\r")
    assert len(set(frames)) >= 3, "the line stood still"
    assert any("loading" in frame for frame in frames)
    assert out.getvalue().endswith("\r")


def test_plain_lines_come_every_few_seconds_with_losses_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    shown = TextProgress(out, live=False)
    shown.start("invert")
    for step in range(1, 101):
        now[0] += 0.1
        shown.update(step, 100, {"total": 1 / step}, "steps")
    shown.finish("invert", 10.0, False)
    shown.start("edit")
    shown.finish("edit", 0.2, True)
    shown.note("a word")
    lines = out.getvalue().splitlines()
    assert re.fullmatch(r"invert +1[01]/100 steps  total 0\.\d+(  about 9 s left)?", lines[0])
    assert re.fullmatch(r"invert +6[01]/100 steps  total 0\.0\d+  about 4 s left", lines[1])
    assert re.fullmatch(r"invert +10 s   100/100 steps", lines[2])
    assert [line.split()[0] for line in lines[3:]] == ["edit", "note:"] and "from the cache" in lines[3]
    assert "\r" not in out.getvalue()


def test_the_silent_one_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as shown:
        shown.start("a")
        shown.update(1, 2, {"x": 1.0})
        shown.finish("a", 1.0, False)
        shown.note("b")
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_has_gone_does_not_stop_the_work() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    shown = TextProgress(Gone(), live=False)
    shown.note("one")
    shown.finish("track", 1.0, False)
