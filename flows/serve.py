"""All that one machine needs to run jobs: Prefect's server, the pools, the deployments, workers, automations.

    invid serve                    http://127.0.0.1:4200, one worker for each GPU, or one for the processors
    invid serve --api URL          only workers, for a server on another machine
    invid serve --watch IN OUT     and a look at IN every minute; results go to OUT/CLIP/

Everything is started as its own process, started again when it dies, and taken down again with Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from inverters import threads
from pipeline.commands.guard import ENDINGS, handle, say
from pipeline.errors import InvidError, UserError

ROOT = Path(__file__).resolve().parent.parent
AUTOMATIONS = Path(__file__).with_name("automations.yaml")
POOL, WATCH_POOL = "invid", "invid-watch"
_STARTING = 120.0
_ENDING = 20.0
_MOST_RESTARTS = 20
_SLUG = "serve-"
"""How the names of our schedules begin."""


class ServeError(InvidError):
    """A part of the service does not come up."""


@dataclass
class Part:
    """A process that is kept alive."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    since: float = 0.0


@dataclass
class Service:
    """Starts parts, keeps them alive, and ends them in the opposite order.

    home: where the server's database lies. log: folder for one log file a part. watched: folders that are
    looked at every `every` seconds, with those for their results.
    """

    host: str
    port: int
    home: Path
    log: Path
    say: Callable[[str], None] = print
    api: str | None = None
    watched: Sequence[tuple[Path, Path]] = ()
    every: float = 60.0
    parts: list[Part] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _renewed: bool = False

    @property
    def url(self) -> str:
        """Of the server's API."""
        return self.api or f"http://{self.host}:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the service has in its environment."""
        return os.environ | {
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.home / "ui"),
            # Slots outlive the server's process only in files.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "INVID_HOME": str(ROOT),
        }

    def start(self, workers: Sequence[dict[str, str]]) -> None:
        """Bring everything up. Raises ServeError where a part does not come up."""
        for folder in (self.home, self.log):
            folder.mkdir(parents=True, exist_ok=True)
        if self.api is None:
            if _is_taken(self.host, self.port):
                raise UserError(f"port {self.port} is in use; stop what uses it, or give --port another")
            words = ["server", "start", "--host", self.host, "--port", str(self.port)]
            self._add("server", _prefect(words))
        self._await_server()
        self._set_up()
        cores = threads.shared(len(workers))
        for number, extra in enumerate(workers):
            name = f"{socket.gethostname()}-{extra.get('CUDA_VISIBLE_DEVICES', f'cpu{number}')}"
            words = ["worker", "start", "--pool", POOL, "--limit", "1", "--name", name]
            self._add(f"worker-{name}", _prefect(words), cores | extra)
        words = ["worker", "start", "--pool", WATCH_POOL, "--name", f"{socket.gethostname()}-watch"]
        self._add("worker-watch", _prefect(words))

    def _set_up(self) -> None:
        """What the server's database must hold; what is there already stays."""
        for pool in (POOL, WATCH_POOL):
            self._call(["work-pool", "create", pool, "--type", "process", "--overwrite"])
        self._call(["--no-prompt", "deploy", "--all"])
        self._create_automations()
        if self.watched:
            self._schedule()

    def _add(self, name: str, command: list[str], extra: dict[str, str] | None = None) -> None:
        part = Part(name, command, self.environment | (extra or {}))
        self._launch(part)
        self.parts.append(part)

    def _launch(self, part: Part) -> None:
        with (self.log / f"{part.name}.log").open("ab") as log:
            part.process = subprocess.Popen(
                part.command,
                cwd=ROOT,
                env=part.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_heed_signals,
            )
        part.since = time.monotonic()
        self.say(f"{part.name}: started (process {part.process.pid}, log {self.log / part.name}.log)")

    def _await_server(self) -> None:
        began = time.monotonic()
        while not self.stopping.is_set() and not self._answers():
            dead = [p.name for p in self.parts if p.process is not None and p.process.poll() is not None]
            if dead or time.monotonic() - began > _STARTING:
                raise ServeError(f"no server answers at {self.url}; see {self.log}/server.log")
            self.stopping.wait(0.3)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The server's answer, from JSON. Raises ServeError."""
        data = None if body is None else json.dumps(body).encode()
        query = urllib.request.Request(
            f"{self.url}/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        for wait in (0.5, 1.0, 2.0, 4.0, None):
            try:
                with urllib.request.urlopen(query, timeout=30) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except (urllib.error.URLError, OSError) as error:
                busy = isinstance(error, urllib.error.HTTPError) and error.code == 503
                if not busy or wait is None:
                    raise ServeError(f"{self.url}/{path}: {error}") from None
                self.stopping.wait(wait)
        return None

    def _call(self, words: list[str]) -> str:
        done = subprocess.run(
            _prefect(words),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[-500:]
            raise ServeError(f"`prefect {' '.join(words)}` failed: {said}")
        return done.stdout

    def _create_automations(self) -> None:
        """Those of automations.yaml that are not there yet."""
        there = {automation["name"] for automation in self._ask("POST", "automations/filter", {})}
        found = yaml.safe_load(AUTOMATIONS.read_text())["automations"]
        missing = [a for a in found if a["name"] not in there]
        if missing:
            path = self.home / "automations.yaml"
            path.write_text(yaml.safe_dump({"automations": missing}))
            self._call(["automation", "create", "-f", str(path)])

    def _schedule(self) -> None:
        """Put watch-folder on a timer for each watched folder, in the place of earlier timers of ours."""
        path = "deployments/" + self._ask("GET", "deployments/name/watch-folder/default")["id"]
        for schedule in self._ask("GET", f"{path}/schedules"):
            if (schedule.get("slug") or "").startswith(_SLUG):
                self._ask("DELETE", f"{path}/schedules/{schedule['id']}")
        wanted = [
            {
                "schedule": {"interval": self.every},
                "parameters": {"folder": str(folder), "out": str(out)},
                "slug": f"{_SLUG}{number}",
            }
            for number, (folder, out) in enumerate(self.watched)
        ]
        self._ask("POST", f"{path}/schedules", wanted)

    def watch(self) -> None:
        """Start again what dies, until stop(). Raises ServeError for what dies again and again."""
        while not self.stopping.wait(1.0):
            if self._renewed and self._answers():
                # Its database may be another one: deleted, or restored from a copy.
                self._renewed = False
                try:
                    self._set_up()
                except ServeError as error:
                    self._renewed = True
                    self.say(str(error))
            for part in self.parts:
                if part.process is None or part.process.poll() is None:
                    continue
                part.restarts = part.restarts + 1 if time.monotonic() - part.since < 60 else 1
                if part.restarts > _MOST_RESTARTS:
                    raise ServeError(f"{part.name} dies again and again; see {self.log / part.name}.log")
                self.say(f"{part.name}: ended with code {part.process.returncode}; starting it again")
                self.stopping.wait(min(10.0, 0.5 * 2 ** min(part.restarts, 5)))
                if not self.stopping.is_set():
                    self._launch(part)
                    self._renewed |= part.name == "server"

    def stop(self) -> None:
        """End watch()."""
        self.stopping.set()

    def close(self) -> None:
        """Take everything down, workers before the server, with all that they have started."""
        for part in reversed(self.parts):
            if part.process is not None:
                _end(part.process)
        self.parts.clear()


def _prefect(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "prefect", *words]


def _heed_signals() -> None:
    """A process that a shell put into the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask, wait, and then make sure; a part leads a session of its own, so that nothing of it stays."""
    for number, seconds in ((signal.SIGTERM, _ENDING), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    process.poll()


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def workers_of(wanted: int | None) -> list[dict[str, str]]:
    """The environment of each worker: one worker a GPU, or one for the CPU; or `wanted` for the CPU."""
    if wanted is not None:
        return [{} for _ in range(wanted)]
    import torch

    count = torch.cuda.device_count()
    return [{"CUDA_VISIBLE_DEVICES": str(k)} for k in range(count)] or [{}]


def serve(service: Service, workers: int | None) -> int:
    """Start the service and serve until interrupted; returns the exit code 0.

    workers: on the processors; None for one for each GPU, or one where there is none.
    """

    def ended(number: int, frame: FrameType | None) -> None:
        service.stop()

    handle((signal.SIGINT, *ENDINGS), ended)
    try:
        service.start(workers_of(workers))
        say(f"ready: {service.url.removesuffix('/api')}; in another terminal:")
        say(f"  export PREFECT_API_URL={service.url}")
        say("  prefect deployment run 'process-video/default' -p video=/clips/a.mp4 -p out=/results/a")
        service.watch()
    finally:
        say("ending: workers, then the server")
        service.close()
    return 0
