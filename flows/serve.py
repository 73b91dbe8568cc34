"""All that one machine needs to run jobs: Prefect's server, pools, deployments, workers, a sweep, results.

    invid serve                    http://127.0.0.1:4200, one worker for each GPU, or one for the processors
    invid serve --api URL          only workers, for a server on another machine
    invid serve --watch IN OUT     and a look at IN every minute; results go to OUT/CLIP/

Everything is started as its own process, started again when it dies, and taken down again with Ctrl-C.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from flows import home as homes
from flows import processes
from flows.api import PASSWORDS, URL, Api, ServeError, password
from flows.parts import ROOT, Part
from flows.processes import MARK
from flows.queues import set_priorities
from flows.server import RESULTS_URL, address, check_host, origins
from flows.sweep import POOL, WATCH_POOL, Sweep
from inverters import threads
from pipeline.commands.guard import ENDINGS, handle, say
from pipeline.errors import UserError

TEMPLATE = Path(__file__).with_name("work_pool.json")
"""Job template of our pools: without variables for command, environment and folder, which a run could set."""
FORMER = ("invid-no-sign-of-life", "invid-take-up-again")
"""Automations of earlier versions, whose work the sweep does."""
_STARTING = 300.0
_MOST_RESTARTS = 20
_GC_EVERY = 3600.0


@dataclass
class Service:
    """Starts parts, keeps them alive, and ends them in the opposite order.

    home: where the server's database lies. log: folder for one log file a part. watches: for each watched
    folder the words of an `invid watch`. watched: the folders for their results. collect: words of the
    `invid cache gc` of every hour, if any.
    """

    host: str
    port: int
    home: Path
    log: Path
    say: Callable[[str], None] = print
    api: str | None = None
    watches: Sequence[Sequence[str]] = ()
    watched: Sequence[Path] = ()
    collect: Sequence[str] = ()
    parts: list[Part] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _renewed: bool = False
    _sweep: Sweep | None = None
    _collector: Part | None = None
    _collected: float = 0.0

    def __post_init__(self) -> None:
        self._server = Api(self.url)

    @property
    def url(self) -> str:
        """Of the server's API."""
        return self.api or f"{address(self.host, self.port)}/api"

    def _seen(self, port: int) -> str:
        """Where browsers find a server of ours: by this machine's name if it listens everywhere."""
        return address(socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host, port)

    @property
    def _pages(self) -> dict[str, str]:
        """Where the links of runs lead; whoever has a proxy before it sets these themselves."""
        return {"PREFECT_UI_URL": f"{self._seen(self.port)}/v2", RESULTS_URL: self._seen(self.port + 1)}

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the service has in its environment."""
        words = password()
        return (
            ({} if self.api else self._pages)
            | os.environ
            | {
                URL: self.url,
                "PREFECT_HOME": str(self.home),
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
                "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
                "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.home / "ui"),
                # Slots outlive the server's process only in files.
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                    "prefect.server.concurrency.lease_storage.filesystem"
                ),
                "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins(self.host, self.port)),
                "PREFECT_SERVER_UI_API_URL": f"{self._seen(self.port)}/api",
                "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
                # SQLite takes one writer at a time, and each costs CPU time: a worker asks for work in three
                # transactions, and what nobody waits for is done less often.
                "PREFECT_WORKER_QUERY_SECONDS": "3",
                "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "60",
                "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
                "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "60",
                "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
                "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT60S",
                "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "30",
                "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "5",
                "INVID_HOME": str(ROOT),
                MARK: str(self.home),
            }
            | ({} if words is None else dict.fromkeys(PASSWORDS, words))
        )

    def start(self, workers: Sequence[dict[str, str]]) -> None:
        """Bring everything up. Raises ServeError where a part does not come up."""
        for folder in (self.home, self.log):
            folder.mkdir(parents=True, exist_ok=True)
        homes.end_leftovers(self.home, self.say)
        if self.api is None:
            self._check_address()
            self._add("server", self._listening("flows.server", self.port))
        self._await_server()
        self._set_up()
        if self.api is None:
            watched = [f"--watched={out}" for out in self.watched]
            self._add("results", [*self._listening("flows.results", self.port + 1), *watched])
        machine = f"{socket.gethostname()}-{self._identity()}-"
        self._sweep = Sweep(self._server, machine, self.say, own=self.api is not None)
        self._sweep.look(starting=True)
        cores = threads.shared(len(workers))
        for number, extra in enumerate(workers):
            name = f"{machine}{_device(extra, number)}"
            words = ["worker", "start", "--pool", POOL, "--limit", "1", "--name", name]
            self._add(f"worker-{name}", _prefect(words), cores | extra)
        words = ["worker", "start", "--pool", WATCH_POOL, "--name", f"{machine}watch"]
        self._add("worker-watch", _prefect(words), {"PREFECT_WORKER_QUERY_SECONDS": "15"})
        for number, watch in enumerate(self.watches):
            self._add(f"watch-{number}", [sys.executable, "-m", "pipeline.commands", "watch", *watch])

    def _check_address(self) -> None:
        """Raise UserError for a port in use, and for an address that others reach without a password."""
        check_host(self.host)
        for port in (self.port, self.port + 1):
            _check_free(self.host, port)

    def _listening(self, module: str, port: int) -> list[str]:
        return [sys.executable, "-m", module, "--host", self.host, "--port", str(port)]

    def _identity(self) -> str:
        """Four characters of this home; names of machines are not always their own."""
        path = self.home / "id"
        if not path.exists():
            path.write_text(secrets.token_hex(2))
        return path.read_text()

    def _set_up(self) -> None:
        """What the server's database must hold; what is there already stays."""
        for pool in (POOL, WATCH_POOL):
            self._create_pool(pool)
        set_priorities(self._server.ask)
        self._call(["--no-prompt", "deploy", "--all"])
        for automation in self._server.ask("POST", "automations/filter", {}):
            if automation["name"] in FORMER:
                self._server.ask("DELETE", f"automations/{automation['id']}")

    def _create_pool(self, name: str) -> None:
        """A work pool with our template, which replaces that of an earlier version."""
        template = json.loads(TEMPLATE.read_text())
        wanted = {"name": {"any_": [name]}}
        if self._server.ask("POST", "work_pools/filter", {"work_pools": wanted}):
            self._server.ask("PATCH", f"work_pools/{name}", {"base_job_template": template})
        else:
            body = {"name": name, "type": "process", "base_job_template": template}
            self._server.ask("POST", "work_pools/", body)

    def _add(self, name: str, command: list[str], extra: dict[str, str] | None = None) -> None:
        part = self._part(name, command, extra)
        self._launch(part)
        self.parts.append(part)

    def _part(self, name: str, command: list[str], extra: dict[str, str] | None = None) -> Part:
        return Part(name, command, self.environment | (extra or {}), self.log / f"{name}.log")

    def _launch(self, part: Part) -> None:
        part.start()
        self.say(f"{part.name}: started (process {part.pid}, log {part.log})")

    def _await_server(self) -> None:
        began = time.monotonic()
        while not self.stopping.is_set() and not self._server.answers():
            dead = any(part.code is not None for part in self.parts)
            if dead or time.monotonic() - began > _STARTING:
                raise ServeError(f"no server answers at {self.url}; see {self.log}/server.log")
            self.stopping.wait(0.3)

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

    def watch(self) -> None:
        """Start again what dies, until stop(). Raises ServeError for what dies again and again."""
        if self._sweep is not None:
            threading.Thread(target=self._sweep.run, args=(self.stopping,), daemon=True).start()
        self._note_state()
        while not self.stopping.wait(1.0):
            if self._renewed and self._server.answers():
                # Its database may be another one: deleted, or restored from a copy.
                self._renewed = False
                try:
                    self._set_up()
                except ServeError as error:
                    self._renewed = True
                    self.say(str(error))
            for part in self.parts:
                if (code := part.code) is not None and self._may_start(part):
                    self._relaunch(part, code)
            self._collect()

    def _may_start(self, part: Part) -> bool:
        """Whether a part can work: all but the server would end again at once while the server is away."""
        return part.name == "server" or self._server.answers()

    def _relaunch(self, part: Part, code: int) -> None:
        rest = part.died()
        if part.deaths > _MOST_RESTARTS:
            raise ServeError(f"{part.name} dies again and again; see {part.log}")
        self.say(f"{part.name}: ended with code {code}; starting it again")
        self.stopping.wait(rest)
        if not self.stopping.is_set():
            self._launch(part)
            self._renewed |= part.name == "server"
            self._note_state()

    def _collect(self) -> None:
        """Every hour, bring the cache back to its size."""
        ended = self._collector is None or self._collector.code is not None
        if not self.collect or not ended or time.monotonic() < self._collected:
            return
        self._collected = time.monotonic() + _GC_EVERY
        words = [sys.executable, "-m", "pipeline.commands", "cache", "gc", *self.collect]
        self._collector = self._part("gc", words)
        self._collector.start()

    def _note_state(self) -> None:
        parts = {part.name: part.pid for part in self.parts}
        homes.write_state(self.home, self.url, parts, self.watched)

    def stop(self) -> None:
        """End watch()."""
        self.stopping.set()

    def close(self) -> None:
        """Take everything down, workers before the server, with all that they have started.

        The runs of our workers go back to the queue, for other workers or for the next start.
        """
        began, server = time.time(), [part for part in self.parts if part.name == "server"]
        others = [part for part in reversed(self.parts) if part not in server]
        for part in (*others, *filter(None, [self._collector])):
            part.end()
        spared = {part.pid for part in server}
        processes.end([pid for pid in processes.of_service(self.home) if pid not in spared], 5.0)
        if self._sweep is not None:
            try:
                self._sweep.hand_back(began)
            except ServeError as error:
                self.say(f"runs could not be handed back, and are taken up at the next start: {error}")
        for part in server:
            part.end()
        self.parts.clear()


def _device(extra: dict[str, str], number: int) -> str:
    """What a worker computes on, as a part of its name."""
    return extra.get("CUDA_VISIBLE_DEVICES", f"cpu{number}")


def _prefect(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "prefect", *words]


def _check_free(host: str, port: int) -> None:
    """Raise UserError for an address that nothing can listen on."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} is in use, and results are served one port above the server; "
                "stop what uses it, or give --port another"
            ) from None
        raise UserError(f"--host {host} --port {port}: {error.strerror}") from None


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
    with homes.locked(service.home):
        try:
            service.start(workers_of(workers))
            say(f"ready: {service.url.removesuffix('/api')}; in another terminal:")
            say(f"  export PREFECT_API_URL={service.url}")
            if password() is not None:
                say(f"  export {PASSWORDS[1]}=...    # the server's user:password")
            say("  prefect deployment run 'process-video/default' -p video=/clips/a.mp4 -p out=/results/a")
            service.watch()
        finally:
            say("ending: workers, then the server")
            service.close()
    return 0
