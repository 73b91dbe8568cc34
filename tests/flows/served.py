"""A running `invid serve`, and what a person would type beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "mask.mp4"
SERVER, WORKER = "server start", "worker start --pool invid --limit"
ENGINE = ("prefect.flow_engine", "prefect.engine")
"""What command lines of a server, of the worker, and of a run have."""


class Served:
    """The service, with a folder that it watches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watched, self.results = folder / "in", folder / "results"
        self.watched.mkdir()
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
        watch = ["--watch", str(self.watched), str(self.results)]
        command = [
            sys.executable,
            "-m",
            "pipeline.commands",
            "serve",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        self.process = subprocess.Popen(
            [*command, "--home", str(folder / "home"), *watch, "--every", "10"],
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
            [sys.executable, "-m", "pipeline.commands", "process", str(video), *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def ask(self, method: str, path: str, **how: Any) -> Any:
        """The server's answer. A busy one (its database is locked, at times for a minute) is asked again."""
        import httpx

        for _ in range(6):
            try:
                answer = httpx.request(method, f"{self.api}/{path}", timeout=90, **how)
            except httpx.TransportError:
                time.sleep(2)
                continue
            if answer.status_code != 503:
                return answer.raise_for_status().json()
            time.sleep(1)
        raise AssertionError(f"the server gives no answer to {path}")

    def get(self, path: str, **query: str) -> Any:
        return self.ask("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.ask("POST", path, json=body)

    def state(self, run: str) -> dict[str, Any]:
        found = self.post("flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return {"type": found[0]["state"]["type"], "message": found[0]["state"]["message"]} | found[0]

    def states(self, run: str) -> list[str]:
        found = self.get("flow_run_states/", flow_run_id=self.state(run)["id"])
        return [s["name"] for s in sorted(found, key=lambda s: s["timestamp"])]

    def finished(self, run: str, seconds: float = 600.0) -> dict[str, Any]:
        final = ("COMPLETED", "FAILED", "CANCELLED")

        def look() -> Any:
            state = self.state(run)
            return state if state["type"] in final else None

        found: dict[str, Any] = self.wait_for(look, seconds, f"end of {run}")
        return found

    def processes(self, words: str, run: str = "") -> list[int]:
        """Those below this service whose command line has `words`; of one run, where that is given."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (folder / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if words in command and str(self.folder / "home") in environment and run in environment:
                found.append(int(folder.name))
        return found

    def in_stage(self, run: str, stage: str) -> Callable[[], bool]:
        """Whether a run is in a stage now."""

        def look() -> bool:
            body = {"flow_runs": {"id": {"any_": [self.state(run)["id"]]}}}
            return any(
                t["name"].startswith(stage) and t["state_type"] == "RUNNING"
                for t in self.post("task_runs/filter", body)
            )

        return look

    def answers(self) -> bool:
        """Whether the server does."""
        import httpx

        try:
            return httpx.get(f"{self.api}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self, *words: str, number: int = signal.SIGKILL, run: str = "") -> int:
        """Send a signal to all processes with any of these command lines; how many there were."""
        found = [pid for some in words for pid in self.processes(some, run)]
        for pid in found:
            os.kill(pid, number)
        return len(found)
