"""FFmpeg as a process: what it says, and that it is not waited for where it has stopped."""

from __future__ import annotations

import sys

from pipeline.video.ffmpeg_binary import run_ffmpeg, run_watched

LOCKED = "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()"
BUSY = "import time; end = time.monotonic() + 2.5\nwhile time.monotonic() < end: pass\nraise SystemExit(3)"


def test_a_process_whose_threads_wait_for_each_other_is_ended() -> None:
    assert run_watched([sys.executable, "-c", LOCKED], stall=1.0) is None


def test_a_process_that_works_is_waited_for() -> None:
    ran = run_watched([sys.executable, "-c", BUSY], stall=1.0)
    assert ran is not None and ran.code == 3


def test_errors_are_told_in_one_line() -> None:
    ran = run_ffmpeg(["-i", "/nowhere/a.mp4", "-f", "null", "-"])
    assert ran.code and "No such file" in ran.reason and "\n" not in ran.reason
    assert run_ffmpeg(["-f", "lavfi", "-i", "color=d=0.1", "-f", "null", "-"]).code == 0
