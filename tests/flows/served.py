"""A running `invid serve`, and what a person would type beside it."""

from __future__ import annotations

import contextlib
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
SERVER, WORKER = "flows.server", "worker start --pool invid --limit"
ENGINE = ("prefect.flow_engine", "prefect.engine")
"""What command lines of a server, of the worker, and of a run have."""


def free_port() -> int:
    """A port that is free, as is the one above it, where results are served."""
    while True:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                above.bind(("127.0.0.1", port + 1))
                return port


def put(path: Path, side_file: str = "") -> None:
    """A clip whose content no other has, and which looks as if it had lain there for long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if side_file:
        path.with_suffix(".yaml").write_text(side_file)
    data = SAMPLE.read_bytes() + (8 + len(path.name)).to_bytes(4, "big") + b"free" + path.name.encode()
    aside = path.with_suffix(".part")
    aside.write_bytes(data)
    os.utime(aside, (time.time() - 100, time.time() - 100))
    aside.rename(path)


class Served:
    """The service, with a folder that it watches. `options` are words of `invid serve`."""

    def __init__(self, folder: Path, *options: str, workers: int = 1, **variables: str) -> None:
        self.folder, self.home = folder, folder / "home"
        self.watched, self.results = folder / "in", folder / "results"
        self.watched.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.environment = os.environ | {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(folder / "client"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            **variables,
        }
        watch = ["--watch", str(self.watched), str(self.results), "--every", "10"]
        self.words = ["--port", str(self.port), "--workers", str(workers), *watch, *options]
        self.start()

    def start(self) -> None:
        """Start it; again, after end()."""
        command = [sys.executable, "-m", "pipeline.commands", "serve", "--home", str(self.home)]
        self.log = (self.folder / "serve.log").open("ab")
        self._before = self.log.tell()
        self.process = subprocess.Popen(
            [*command, *self.words], cwd=ROOT, env=self.environment, stdout=self.log, stderr=self.log
        )

    def ready(self) -> None:
        """Wait until it takes runs."""
        self.wait_for(lambda: "ready:" in self.said(), 400, "service")

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal, and wait for its end."""
        self.process.send_signal(number)
        try:
            self.process.wait(90)
        finally:
            self.process.kill()
            self.log.close()

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal, and start it again."""
        self.end(number)
        self.start()
        self.ready()

    def command(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command of ours, as a person would type it beside the service."""
        return subprocess.run(
            [sys.executable, "-m", "pipeline.commands", *words],
            cwd=ROOT,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self) -> str:
        """What it has printed since its last start."""
        return (self.folder / "serve.log").read_bytes()[self._before :].decode()

    def wait_for(self, what: Callable[[], Any], seconds: float, words: str) -> Any:
        began = time.monotonic()
        while not (found := what()):
            assert time.monotonic() - began < seconds, f"no {words} after {seconds} s\n{self.said()[-3000:]}"
            assert self.process.poll() is None, self.said()
            time.sleep(0.3)
        return found

    def submit(self, name: str, *options: str, video: Path = SAMPLE, out: Path | None = None) -> str:
        words = ["--out", str(out or self.folder / name), "--submit", *options]
        done = self.command("process", str(video), *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def run_of(self, flow: str, parameters: dict[str, Any], **how: Any) -> str:
        """A run of a deployment, as a page of Prefect's would make it."""
        found = self.get(f"deployments/name/{flow}/default")["id"]
        made = self.post(f"deployments/{found}/create_flow_run", {"parameters": parameters, **how})
        return str(made["id"])

    def ask(self, method: str, path: str, **how: Any) -> Any:
        """The server's answer. A busy one (its database is locked, at times for a minute) is asked again."""
        import httpx

        user, _, password = self.environment.get("PREFECT_API_AUTH_STRING", ":").partition(":")
        how |= {"timeout": 90, "auth": (user, password)}
        for _ in range(6):
            try:
                token = (
                    httpx.get(f"{self.api}/csrf-token?client=tests", timeout=90, auth=(user, password))
                    .raise_for_status()
                    .json()
                )
                headers = {"Prefect-Csrf-Client": "tests", "Prefect-Csrf-Token": token["token"]}
                answer = httpx.request(method, f"{self.api}/{path}", headers=headers, **how)
            except (httpx.TransportError, httpx.HTTPStatusError):
                time.sleep(2)
                continue
            if answer.status_code != 503:
                answer.raise_for_status()
                return answer.json() if answer.content else None
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
            if words in command and str(self.home) in environment and run in environment:
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
