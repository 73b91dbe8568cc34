"""`invid serve`, for real: a server, a worker, runs that finish, fail, are killed and are taken up again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "mask.mp4"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Served:
    """A running service, and what a person would type beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.environment = os.environ | {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(folder / "client"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self.log = (folder / "serve.log").open("wb")
        command = [sys.executable, "-m", "pipeline.cli", "serve", "--port", str(self.port), "--workers", "1"]
        self.process = subprocess.Popen(
            [*command, "--home", str(folder / "home")],
            cwd=ROOT,
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
        )

    def said(self) -> str:
        return (self.folder / "serve.log").read_text()

    def wait_for(self, what: Callable[[], Any], seconds: float, words: str) -> Any:
        began = time.monotonic()
        while not (found := what()):
            assert time.monotonic() - began < seconds, f"no {words} after {seconds} s\n{self.said()[-3000:]}"
            assert self.process.poll() is None, self.said()
            time.sleep(0.3)
        return found

    def submit(self, name: str, *options: str, video: Path = SAMPLE, out: Path | None = None) -> str:
        words = ["--out", str(out or self.folder / name), "--submit", *options]
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "process", str(video), *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        import httpx

        return httpx.post(f"{self.api}/{path}", json=body, timeout=30).json()

    def state(self, run: str) -> dict[str, Any]:
        found = self.post("flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return {"type": found[0]["state"]["type"], "message": found[0]["state"]["message"]} | found[0]

    def states(self, run: str) -> list[str]:
        import httpx

        found = httpx.get(
            f"{self.api}/flow_run_states/", params={"flow_run_id": self.state(run)["id"]}, timeout=30
        )
        return [s["name"] for s in sorted(found.json(), key=lambda s: s["timestamp"])]

    def finished(self, run: str, seconds: float = 240.0) -> dict[str, Any]:
        final = ("COMPLETED", "FAILED", "CANCELLED")

        def look() -> Any:
            state = self.state(run)
            return state if state["type"] in final else None

        found: dict[str, Any] = self.wait_for(look, seconds, f"end of {run}")
        return found

    def processes(self, words: str) -> list[int]:
        """Those below this service whose command line has `words`."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (folder / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if words in command and str(self.folder / "home") in environment:
                found.append(int(folder.name))
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("service"))
    try:
        found.wait_for(lambda: "ready:" in found.said(), 180, "service")
        yield found
    finally:
        found.process.send_signal(signal.SIGTERM)
        try:
            found.process.wait(90)
        finally:
            found.process.kill()
            found.log.close()
    assert found.processes("prefect") == [], "something of it is still running"


SHORT = ("--max-frames=2", "--steps=4", "--finetune-steps=2")


def test_a_run_does_what_the_command_does_and_shows_it(served: Served) -> None:
    run = served.submit("first", *SHORT, "--edit=smile=1")
    found = served.finished(run)
    assert found["name"] == "mask.mp4 smile=1"
    assert found["type"] == "COMPLETED", found["message"]
    manifest = json.loads((served.folder / "first/manifest.json").read_text())
    assert manifest["outputs"]["edited"] == "edited.mp4" and (served.folder / "first/edited.mp4").is_file()
    artifacts = served.post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [found["id"]]}}})
    data = " ".join(str(a["data"]) for a in artifacts)
    assert "data:image/jpeg;base64," in data and "report.html" in data and "psnr" in data
    assert "mask.mp4" in found["tags"]


def test_bad_input_fails_with_a_reason_and_is_not_tried_again(served: Served, tmp_path: Path) -> None:
    import httpx

    deployment = httpx.get(f"{served.api}/deployments/name/process-video/default", timeout=30).json()["id"]
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    body = {"parameters": {"video": str(bad), "out": str(tmp_path / "out")}}
    run = served.post(f"deployments/{deployment}/create_flow_run", body)["id"]
    found = served.finished(run)
    assert found["type"] == "FAILED" and "bad.mp4" in found["message"] and "\n" not in found["message"]
    time.sleep(30)
    assert served.state(run)["run_count"] == 1


def in_stage(served: Served, run: str, stage: str) -> Callable[[], bool]:
    def look() -> bool:
        body = {"flow_runs": {"id": {"any_": [served.state(run)["id"]]}}}
        return any(
            t["name"].startswith(stage) and t["state_type"] == "RUNNING"
            for t in served.post("task_runs/filter", body)
        )

    return look


def test_a_killed_run_is_taken_up_again(served: Served) -> None:
    run = served.submit("killed", "--max-frames=2", "--steps=400", "--finetune-steps=2", "--edit=age=1")
    served.wait_for(in_stage(served, run, "invert"), 120, "inversion")
    (pid,) = served.processes("prefect.flow_engine") or served.processes("prefect.engine")
    os.kill(pid, signal.SIGKILL)
    found = served.finished(run)
    assert found["type"] == "COMPLETED", found["message"]
    assert found["run_count"] == 2
    names = served.states(run)
    assert names.index("Crashed") < names.index("AwaitingRetry")


def test_a_machine_that_dies_is_noticed_and_its_run_taken_up(served: Served) -> None:
    run = served.submit(
        "machine", "--max-frames=2", "--steps=500", "--finetune-steps=2", "--edit=age=-1", "--seed=2"
    )
    served.wait_for(in_stage(served, run, "invert"), 120, "inversion")
    began = time.monotonic()
    for words in ("worker start --pool invid --limit", "prefect.flow_engine", "prefect.engine"):
        for pid in served.processes(words):
            os.kill(pid, signal.SIGKILL)
    served.wait_for(lambda: served.state(run)["run_count"] == 2, 170, "second life")
    assert time.monotonic() - began < 170
    assert served.finished(run)["type"] == "COMPLETED"


def test_the_server_is_started_again_and_runs_go_on(served: Served) -> None:
    run = served.submit(
        "restart", "--max-frames=2", "--steps=500", "--finetune-steps=2", "--edit=beard=1", "--seed=3"
    )
    served.wait_for(in_stage(served, run, "invert"), 120, "inversion")
    for pid in served.processes("server start"):
        os.kill(pid, signal.SIGKILL)

    def answers() -> bool:
        import httpx

        try:
            return httpx.get(f"{served.api}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    served.wait_for(lambda: not answers(), 20, "end of the server")
    served.wait_for(answers, 120, "server")
    assert served.finished(run, 400)["type"] == "COMPLETED"
