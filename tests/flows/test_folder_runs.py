"""`invid serve` and `invid process-folder`, for real: ten clips at once, Ctrl-C, a server that is away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.served import ROOT, SERVER, Served, put

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = ("--max-frames=2", "--inverter=e4e-mask", "--preset=draft")
"""Options of a job that takes seconds."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("folders"), workers=2)
    try:
        found.ready()
        yield found
    finally:
        found.end()
    assert found.processes("") == [], "something of it is still running"


def completions(service: Served, folder: Path) -> dict[str, list[int]]:
    """By clip of a folder: for each of its runs, how often it has completed."""
    runs = service.post("flow_runs/filter", {"limit": 200, "flows": {"name": {"any_": ["process-video"]}}})
    found: dict[str, list[int]] = {}
    for run in runs:
        if (clip := Path(run["parameters"]["video"])).parent == folder:
            found.setdefault(clip.name, []).append(service.states(run["id"]).count("Completed"))
    return found


def locked(service: Served) -> int:
    """How often the server's log says that its database is locked."""
    logs = (service.home / "logs").glob("server.log*")
    return sum(log.read_text().count("(sqlite3.OperationalError) database is locked") for log in logs)


def test_ten_clips_and_two_workers(service: Served, tmp_path: Path) -> None:
    names = [f"clip{number}.mp4" for number in range(10)]
    for name in names:
        put(tmp_path / "in" / name)
    began = time.monotonic()
    words = ["--out", str(tmp_path / "out"), "--wait", *SECONDS]
    done = service.command("process-folder", str(tmp_path / "in"), *words)
    print(f"{time.monotonic() - began:.0f} s, database is locked: {locked(service)} times")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.splitlines()[-1] == "in: 10 of 10 clips have ended"
    assert completions(service, tmp_path / "in") == {name: [1] for name in names}
    for name in names:
        manifest = json.loads((tmp_path / "out" / Path(name).stem / "manifest.json").read_text())
        assert manifest["frames"]["total"] == 2
    states = Counter(json.loads(p.read_text())["state"] for p in tmp_path.glob("out/.invid/clips/*.json"))
    assert states == {"done": 10}
    workers = {
        run["labels"]["prefect.worker.name"]
        for run in service.post("flow_runs/filter", {"flows": {"name": {"any_": ["process-video"]}}})
    }
    assert len(workers) == 2, "one worker did nothing"


def waiting(service: Served, *words: str) -> subprocess.Popen[str]:
    """An `invid process-folder --wait` that has submitted its folder."""
    command = [sys.executable, "-m", "pipeline.commands", "process-folder", *words, "--wait", *SECONDS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = subprocess.Popen(command, cwd=ROOT, env=service.environment, text=True, **pipes)
    assert child.stdout is not None and child.stdout.readline().startswith("submitted as in/, run ")
    return child


def test_ctrl_c_and_a_server_that_is_away_lose_no_clip(service: Served, tmp_path: Path) -> None:
    folder, names = tmp_path / "in", ["a.mp4", "b.mp4", "c.mp4"]
    for name in names:
        put(folder / name)
    (folder / "bad.mp4").write_text("no film")
    os.utime(folder / "bad.mp4", (time.time() - 100, time.time() - 100))
    words = (str(folder), "--out", str(tmp_path / "out"))
    first = waiting(service, *words)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 130 and said.count("\n") == 1, said
    assert re.match(r"invid: interrupted; in/, run \S+ goes on without this command; the same command", said)
    second = waiting(service, *words)
    until = time.monotonic() + 25
    while time.monotonic() < until:
        service.kill(SERVER)
        time.sleep(0.5)
    service.wait_for(service.answers, 120, "server")
    out, said = second.communicate(timeout=600)
    assert second.returncode == 1, (out, said)
    assert re.search(r"does not answer .*; is the server up\? Waiting; nothing is lost meanwhile\n", said)
    assert re.search(r"\ninvid: 1 of 4 clips failed \(bad\.mp4: .*\); `again` tries them again\n$", said), (
        said
    )
    assert "Traceback" not in out + said
    assert completions(service, folder) == {name: [1] for name in names}
    (folder / "bad.mp4").unlink()
    put(folder / "bad.mp4")
    third = waiting(service, *words, "--again")
    out, said = third.communicate(timeout=600)
    assert third.returncode == 0 and not said, (out, said)
    assert completions(service, folder) == {name: [1] for name in [*names, "bad.mp4"]}
