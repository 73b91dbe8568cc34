"""Parts of a service are started again when they die; while the server is away, only the server is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows.parts import Part
from flows.serve import Service
from tests.flows.served import free_port
from tests.pipeline.studio import wait_until

DIES = [sys.executable, "-c", "raise SystemExit(3)"]


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    found = Service("127.0.0.1", port, tmp_path, tmp_path, api=f"http://127.0.0.1:{port}/api")
    for name in ("server", "worker"):
        part = Part(name, DIES, {}, tmp_path / f"{name}.log")
        part.start()
        found.parts.append(part)
    wait_until(lambda: all(part.code is not None for part in found.parts))
    thread = threading.Thread(target=found.watch)
    thread.start()
    yield found
    found.stop()
    thread.join()


def test_a_worker_is_not_started_while_the_server_is_away(service: Service) -> None:
    server, worker = service.parts
    first = worker.pid
    wait_until(lambda: server.deaths >= 2)
    assert worker.deaths == 0 and worker.pid == first
    answering = HTTPServer(("127.0.0.1", service.port), Healthy)
    threading.Thread(target=answering.serve_forever, daemon=True).start()
    try:
        wait_until(lambda: worker.deaths >= 1 and worker.pid != first)
    finally:
        service.stop()
        answering.shutdown()
        answering.server_close()
