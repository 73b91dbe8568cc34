"""`invid serve` with Prefect's password and with roots: every part of it knows both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.flows.served import SAMPLE, Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHORT = ("--max-frames=2", "--steps=4", "--finetune-steps=2")
PASSWORD = "anna:hunter2"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("closed")
    roots = f"{SAMPLE.parent}:{folder}"
    found = Served(folder, PREFECT_API_AUTH_STRING=PASSWORD, INVID_ROOTS=roots)
    try:
        found.ready()
        yield found
    finally:
        found.end()


def test_a_run_passes_through_a_server_with_a_password(closed: Served) -> None:
    assert httpx.get(f"{closed.api}/admin/version").status_code == 401
    words = ["process", str(SAMPLE), "--out", str(closed.folder / "none"), "--submit"]
    without = closed.command(*words, PREFECT_API_AUTH_STRING="")
    assert without.returncode == 2 and "has a password" in without.stderr and without.stderr.count("\n") == 1
    assert closed.finished(closed.submit("first", *SHORT))["type"] == "COMPLETED"
    told = closed.command("serve", "--status", "--home", str(closed.home))
    assert told.returncode == 0 and "0 running, 0 waiting" in told.stdout
    logs = [*(closed.home / "logs").iterdir(), closed.folder / "serve.log"]
    assert not any("hunter2" in path.read_text(errors="replace") for path in logs)


def test_a_run_outside_the_roots_fails_once_and_touches_nothing(closed: Served, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = closed.finished(closed.run_of("process-video", {"video": str(SAMPLE), "out": str(out)}))
    assert found["type"] == "FAILED" and "INVID_ROOTS" in found["message"] and "\n" not in found["message"]
    assert found["run_count"] == 1 and not out.exists()
    folder = closed.finished(closed.run_of("process-folder", {"folder": str(SAMPLE.parent), "out": str(out)}))
    assert folder["type"] == "FAILED" and "INVID_ROOTS" in folder["message"] and not out.exists()
