"""The figures of the benchmarks of a service, from what a server and its processes say."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import databases, service

BEGAN = 1_800_000_000.0


def run(*states: tuple[str, float]) -> dict[str, Any]:
    """A run with these states, at these seconds after the start."""
    return {"states": [{"type": kind, "timestamp": stamp(seconds)} for kind, seconds in states]}


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(BEGAN + seconds, UTC).isoformat()


def test_what_became_of_ten_clips_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = tmp_path / "home/logs"
    logs.mkdir(parents=True)
    (logs / "server.log").write_text("x\n(sqlite3.OperationalError) database is locked\n")
    (logs / "server.log.1").write_text("(sqlite3.OperationalError) database is locked\n" * 2)
    (tmp_path / "out0").mkdir()
    (tmp_path / "out0/manifest.json").write_text("{}")
    runs = [
        run(("SCHEDULED", 0), ("PENDING", 1), ("RUNNING", 4), ("COMPLETED", 20)),
        run(("SCHEDULED", 1), ("RUNNING", 21), ("COMPLETED", 30), ("RUNNING", 31), ("COMPLETED", 45)),
    ]
    monkeypatch.setattr(databases, "all_runs", lambda _: runs)
    served: Any = SimpleNamespace(home=tmp_path / "home", folder=tmp_path)
    assert databases.counted(served, 2, BEGAN) == {
        "seconds": 45.0,
        "first_s": 4.0,
        "longest_wait_s": 20.0,
        "locked": 3,
        "lost": 1,
        "done_twice": 1,
    }


def test_the_time_of_a_process_is_that_of_the_system(tmp_path: Path) -> None:
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        served: Any = SimpleNamespace(process=burner, home=tmp_path)
        (name,) = service.cpu_seconds(served)
        assert "while True" in name
        while not (spent := service.cpu_seconds(served)[name]):
            pass
        assert service.cpu_seconds(served)[name] >= spent > 0.0
    finally:
        burner.kill()
        burner.wait()
    assert 0.0 <= service.busy(0.05) <= 1.0
