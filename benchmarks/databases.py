"""Ten clips at once with SQLite and with Postgres as the database of Prefect's server.

    python -m benchmarks.databases [--clips 10] [--workers 2] [--json] [--out FILE]

Batches of other sizes in FILE stay there, under `batches`.

The clips are submitted at once, as by a page of Prefect's; each is a real job of two frames and a few steps.
Postgres is that of this machine (Debian's package postgresql). It runs in a temporary folder, on a port of
the loopback, as the user postgres where this runs as root, and is ended afterwards.

- `seconds`: from the first request to the end of the last run; `first_s` and `longest_wait_s`: from the first
  request to the start of the first run, and the longest time between a run's request and its start.
- `locked`: times that the server's log says "database is locked".
- `lost`: runs without results. `done_twice`: runs that completed more than once.
- `others_busy`: share of the cores that was in use just before.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import report
from benchmarks.restarts import FINAL, Service, all_runs, at, locked, out_of, submit
from benchmarks.service import busy
from pipeline.machine import machine

URL = "PREFECT_API_DATABASE_CONNECTION_URL"
LONGEST = 3600.0
"""Seconds after which what has not ended counts as lost."""


def program(name: str) -> str:
    """A program of Postgres: Debian keeps most of them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if found:
        return str(found[-1])
    if (there := shutil.which(name)) is None:
        raise SystemExit(f"{name} is not installed; `apt-get install postgresql` brings it")
    return there


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, str]]:
    """A Postgres of its own in `folder`: its URL for Prefect, and its version."""
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, user)
        folder.parent.chmod(0o755)  # so that another user reaches it
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    how: dict[str, Any] = {"user": user, "cwd": folder} if os.geteuid() == 0 else {"cwd": folder}
    words = ["-D", str(data), "-U", "prefect", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    subprocess.run([program("initdb"), *words], check=True, stdout=subprocess.DEVNULL, **how)
    words = ["-D", str(data), "-k", str(folder), "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program("postgres"), *words], stdout=log, stderr=log, **how)
    try:
        asked = [program("pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        while subprocess.run(asked, check=False).returncode:
            if server.poll() is not None:
                raise SystemExit((folder / "log").read_text()[-2000:])
            time.sleep(0.2)
        version = subprocess.run(
            [program("postgres"), "--version"], check=True, capture_output=True, text=True
        )
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres", version.stdout.split()[2]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def measured(folder: Path, url: str | None, clips: int, workers: int) -> dict[str, Any]:
    """Submit the clips to a fresh service with this database, and count what becomes of them."""
    folder.mkdir()
    service = Service(folder, workers, watches=False)
    if url is not None:
        service.environment[URL] = url
    used = busy()
    service.start()
    try:
        began = time.time()
        runs = [submit(service, number) for number in range(clips)]
        wait(service, set(runs))
        return counted(service, clips, began) | {"others_busy": used}
    finally:
        service.close()


def wait(service: Service, runs: set[str]) -> None:
    """Wait until these runs have ended."""
    until = time.monotonic() + LONGEST
    body = {"flow_runs": {"id": {"any_": sorted(runs)}, "state": {"type": {"any_": list(FINAL)}}}}
    while time.monotonic() < until and int(service.ask("POST", "flow_runs/count", body)) < len(runs):
        time.sleep(3.0)


def counted(service: Service, clips: int, began: float) -> dict[str, Any]:
    """The figures."""
    states = [[(s["type"], at(s["timestamp"])) for s in run["states"]] for run in all_runs(service)]
    starts = [next((when for kind, when in run if kind == "RUNNING"), time.time()) for run in states]
    return {
        "seconds": round(max(when for run in states for _, when in run) - began, 1),
        "first_s": round(min(starts) - began, 1),
        "longest_wait_s": round(max(start - run[0][1] for start, run in zip(starts, states)), 1),
        "locked": locked(service),
        "lost": sum(not (out_of(service, number) / "manifest.json").exists() for number in range(clips)),
        "done_twice": sum([kind for kind, _ in run].count("COMPLETED") > 1 for run in states),
    }


def main() -> None:
    """Measure, print and write; the exit code is 1 where something is lost or done twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print nothing but the figures")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the services are ended, too
    found: dict[str, Any] = {"clips": args.clips, "workers": args.workers, "machine": machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["sqlite"] = measured(folder / "sqlite", None, args.clips, args.workers)
        if not args.json:
            print(found["sqlite"], file=sys.stderr)
        with postgres(folder / "database") as (url, version):
            found["postgres"] = measured(folder / "postgres", url, args.clips, args.workers)
            found["postgres"]["version"] = version
    report({"batches": [*others(args.out, found), found]}, args.out)
    bad = ("lost", "done_twice")
    sys.exit(1 if any(found[database][key] for database in ("sqlite", "postgres") for key in bad) else 0)


def others(out: Path | None, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The batches of another size than `found` in an earlier result."""
    if out is None or not out.exists():
        return []
    earlier: list[dict[str, Any]] = json.loads(out.read_text())["batches"]
    size = found["clips"], found["workers"]
    return [batch for batch in earlier if (batch["clips"], batch["workers"]) != size]


if __name__ == "__main__":
    main()
