"""The benchmark beside busy processes: what is a fair share, and that busy processes end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.busy import busy, rows_of

ROOT = Path(__file__).parents[2]


def test_fair_share_is_the_same_part_of_the_cores_for_every_thread() -> None:
    found = {0: [(10.0, 0.0), (12.0, 0.3), (11.0, 0.0)], 1: [(33.0, 0.0)], 2: [(22.0, 0.1)]}
    rows = rows_of(found, 2, 2)
    assert [row["load"] for row in rows] == [0, 1, 2]
    assert [row["seconds"] for row in rows] == [11.0, 33.0, 22.0]
    assert [row["fair_share_seconds"] for row in rows] == [11.0, 16.5, 22.0]
    assert [row["ratio"] for row in rows] == [1.0, 2.0, 1.0]
    assert [row["others"] for row in rows] == [0.3, 0.0, 0.1]
    # Two threads beside one process on four cores have a core each.
    assert rows_of(found, 2, 4)[1]["fair_share_seconds"] == 11.0


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_busy_processes_end_with_the_block_and_with_a_killed_script() -> None:
    with busy(2) as found:
        assert len(found) == 2 and all(map(is_running, found))
    assert not any(map(is_running, found))
    code = """
import time
from benchmarks.busy import busy
with busy(1) as found:
    print(*found, flush=True)
    time.sleep(600)
"""
    script = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert script.stdout is not None
    pid = int(script.stdout.readline())
    assert is_running(pid)
    os.kill(script.pid, signal.SIGKILL)
    script.wait()
    began = time.monotonic()
    while is_running(pid):
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    script.stdout.close()
