"""One service for all tests of flows."""

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
