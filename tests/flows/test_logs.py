"""Logs carry times, rotate, and outlive whoever started them."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from flows.logs import copy


def test_every_line_has_its_time_and_old_lines_go(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    lines = [f"line {k} \udce9".encode("utf-8", "surrogateescape") + b"\n" for k in range(100)]
    copy(io.BytesIO(b"".join(lines)), log, most=1000, kept=2)
    files = [log, tmp_path / "server.log.1", tmp_path / "server.log.2"]
    assert sorted(tmp_path.iterdir()) == sorted(files) and all(f.stat().st_size <= 1000 for f in files)
    last = log.read_text().splitlines()[-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| line 99 \ufffd", last)


def test_a_log_goes_on_after_its_starter_was_killed(tmp_path: Path) -> None:
    """The starter hands its log to a child and is killed; what the child says afterwards is in the log."""
    log = tmp_path / "part.log"
    child = "import time, sys\nfor k in range(200):\n print('alive', k, flush=True); time.sleep(0.05)"
    starter = f"""
import subprocess, sys, time
from pathlib import Path
from flows.logs import rotating
with rotating(Path({str(log)!r})) as out:
    child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=out, start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    try:
        wait_for(log, "alive")
        process.kill()
        process.wait()
        after = log.stat().st_size
        wait_for(log, "alive", after)
    finally:
        os.kill(pid, signal.SIGKILL)
        process.kill()
        process.stdout.close()


def test_a_log_outlives_a_signal_to_all_processes_of_a_unit(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    process = subprocess.Popen([sys.executable, "-m", "flows.logs", str(log)], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin as stream:
        stream.write(b"first\n")
        stream.flush()
        wait_for(log, "first")
        process.send_signal(signal.SIGTERM)
        stream.write(b"last words\n")
    assert process.wait(30) == 0 and "last words" in log.read_text()


def wait_for(log: Path, words: str, start: int = 0) -> None:
    for _ in range(600):
        if log.exists() and words in log.read_text()[start:]:
            return
        time.sleep(0.05)
    raise AssertionError(f"no '{words}' in the log")
