"""One service for all tests of flows, and a server alone for those that run a flow in their own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.served import Served


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("service"))
    try:
        found.ready()
        yield found
    finally:
        found.end()
    assert found.processes("") == [], "something of it is still running"


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield
