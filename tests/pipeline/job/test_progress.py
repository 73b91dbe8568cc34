"""Progress: something moves from the first second, plain where there is no terminal, silent when asked."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time

import pytest

from pipeline.job import progress as module
from pipeline.job.progress import Progress, TextProgress, clock
from tests.pipeline.job.terminal import on_a_terminal, screen


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
    assert screen(out.getvalue()) == [], "the line was left on the terminal"


def test_a_terminal_shows_stage_count_losses_and_time_left() -> None:
    seen, left_over = on_a_terminal(
        """
        shown.plan(["decode", "track", "invert"])
        shown.say("clip.mp4 -> out")
        shown.start("track")
        shown.finish("track", 0.4, True)
        shown.start("invert")
        for step in range(1, 41):
            shown.update(step, 60, {"colour": 0.5, "pose": 0.001}, "steps")
            time.sleep(0.04)
            if step == 30:
                shown.note("a [bold]word[/bold] :smile:")
        """
    )
    bar = re.compile(
        r"\S +3/3 invert [━╸╺]+ (\d+)/60 steps  colour 0\.5  pose 0\.001(  about \d+ s left)? +\d+ s"
    )
    found = [found for lines in seen for line in lines if (found := bar.fullmatch(line))]
    counts = [int(one[1]) for one in found]
    assert len(set(counts)) >= 2 and counts == sorted(counts), seen
    assert any(one[2] for one in found), seen
    above = ["clip.mp4 -> out", "2/3 track  from the cache", "note: a [bold]word[/bold] :smile:"]
    assert left_over == above, "finished lines stay, the bar goes"
    during = [lines for lines in seen if above[-1] in lines and any(bar.fullmatch(line) for line in lines)]
    assert during, "the bar goes on below a note"
    for lines in seen:
        assert sum("invert" in line for line in lines) <= 1, "one bar at a time"


def test_a_narrow_terminal_cuts_the_line() -> None:
    losses = "{name: 0.123 for name in ('colour', 'perceptual', 'identity')}"
    seen, left_over = on_a_terminal(
        f"""
        shown.start("invert")
        shown.update(5, 60, {losses}, "steps")
        time.sleep(0.5)
        """,
        columns=60,
    )
    assert any("5/60 steps  col" in line and "…" in line for lines in seen for line in lines), seen
    assert all(len(lines) <= 1 for lines in seen) and left_over == []


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines() -> None:
    seen, left_over = on_a_terminal('shown.say("a line")', term="dumb")
    assert left_over == ["a line"] and not any("starting" in line for lines in seen for line in lines)


def test_prints_go_above_the_bar_but_never_out_of_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    seen, left_over = on_a_terminal(
        """
        shown.start("invert")
        print("printed by a library")
        time.sleep(0.5)
        """
    )
    assert left_over == ["printed by a library"]
    assert any(len(lines) == 2 and "invert" in lines[1] for lines in seen), seen
    out = io.StringIO()
    with TextProgress(out, live=True):
        print("a result")
    assert capsys.readouterr().out == "a result\n" and "a result" not in out.getvalue()


def test_rich_is_loaded_only_for_a_live_bar() -> None:
    program = """
import io, sys
from pipeline.job.progress import TextProgress
TextProgress(io.StringIO()).say("a")
assert "rich" not in sys.modules
with TextProgress(io.StringIO(), live=True):
    assert "rich" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


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


def test_a_planned_stage_is_one_of_so_many() -> None:
    out = io.StringIO()
    shown = TextProgress(out)
    shown.plan([f"stage{i}" for i in range(12)])
    shown.start("loading")
    shown.finish("loading", 0.2, False)
    shown.start("stage3")
    shown.finish("stage3", 0.2, False)
    assert out.getvalue() == "loading       0.2 s\n 4/12 stage3  0.2 s\n"  # `stage10` is the widest


def test_each_part_of_a_stage_has_its_own_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_LINE_EVERY", 0.0)
    out = io.StringIO()
    shown = TextProgress(out, live=False)
    shown.start("edit")
    now[0] = 10.0
    shown.update(10, 20, None, "frames of edited")
    now[0] = 100.0
    shown.update(1, 20, None, "frames of view")
    now[0] = 102.0
    shown.update(3, 20, None, "frames of view")
    lines = [line.partition("edit ")[2].strip() for line in out.getvalue().splitlines()]
    assert lines == [
        "10/20 frames of edited  about 10 s left",
        "1/20 frames of view",
        "3/20 frames of view  about 17 s left",
    ]


def test_the_silent_one_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as shown:
        shown.start("a")
        shown.update(1, 2, {"x": 1.0})
        shown.finish("a", 1.0, False)
        shown.note("b")
        shown.plan(["a"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("live", [False, True])
def test_a_reader_that_has_gone_does_not_stop_the_work(
    live: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    shown = TextProgress(Gone(), live=live)
    shown.note("one")
    shown.start("track")
    shown.update(1, 2)
    time.sleep(0.5 if live else 0.0)
    shown.finish("track", 1.0, False)
    shown.close()
    assert capsys.readouterr() == ("", "")


def test_a_closed_stream_does_not_stop_the_work() -> None:
    out = io.StringIO()
    shown = TextProgress(out, live=False)
    out.close()
    shown.note("one")
    shown.close()


@pytest.mark.parametrize("live", [False, True])
def test_what_the_encoding_lacks_is_a_question_mark(live: bool) -> None:
    raw = io.BytesIO()
    with TextProgress(io.TextIOWrapper(raw, encoding="ascii"), live=live) as shown:
        shown.note("café")
        shown.note("next")
        shown.start("träck")
        time.sleep(0.5 if live else 0.0)
    text = raw.getvalue().decode("ascii")
    assert "note: caf?" in text and "note: next" in text
    assert not live or "tr?ck" in text
