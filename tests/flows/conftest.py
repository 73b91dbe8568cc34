"""One service for all tests of flows."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.flows.served import Served


@pytest.fixture(scope="session")
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
