"""Lines of a child process reach the log while it runs, and it ends with its run."""

from __future__ import annotations

import os
import sys

import pytest

from flows.child import run_logged


def test_lines_come_as_they_are_printed_and_the_reason_is_the_last_error() -> None:
    code = """
import sys
print("first"); sys.stdin.read()
print("invid: no such folder", file=sys.stderr); sys.exit(2)
"""
    seen: list[str] = []
    ended = run_logged([sys.executable, "-c", code], seen.append)
    assert sorted(seen) == ["first", "invid: no such folder"]
    assert (ended.code, ended.out, ended.reason) == (2, "first\n", "no such folder")


def test_a_line_is_logged_while_the_child_still_runs_and_the_child_does_not_outlive_its_run() -> None:
    """The child prints one line and would then wait for ever; the error comes from that line."""
    pids: list[int] = []

    def say(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("the run is cancelled")

    code = "import os, time\nprint(os.getpid())\ntime.sleep(600)"
    with pytest.raises(RuntimeError, match="cancelled"):
        run_logged([sys.executable, "-c", code], say)
    (pid,) = pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_kept_of_a_chatty_child_is_bounded() -> None:
    ended = run_logged([sys.executable, "-c", "for k in range(25_000): print(k)"], lambda line: None)
    assert ended.out.splitlines()[0] == "5000" and ended.code == 0
