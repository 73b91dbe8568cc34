"""Prefect's server for its own pages alone: other origins, forged names and WebSockets of other pages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flows.server import OwnOrigin


def ask(listens: str, kind: str = "http", **headers: str) -> int:
    """The status of a request to a guarded app; 101 for a WebSocket let through."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200 if scope["type"] == "http" else 101})

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    found = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(OwnOrigin(app, listens, 4200)({"type": kind, "headers": found}, receive, send))
    return 403 if sent[0]["type"] == "websocket.close" else int(sent[0]["status"])


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("name", ["127.0.0.1:4200", "localhost:4200", "[::1]:4200"])
def test_programs_and_its_own_pages_pass(kind: str, name: str) -> None:
    passes = 200 if kind == "http" else 101
    assert ask("127.0.0.1", kind, host=name) == passes
    assert ask("127.0.0.1", kind, host=name, origin=f"http://{name}") == passes
    assert ask("127.0.0.1", kind, host=name, origin="http://localhost:4200") == passes


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://127.0.0.1:8000", "http://localhost.evil.example:4200"],
)
def test_pages_of_other_origins_are_refused(kind: str, origin: str) -> None:
    for listens in ("127.0.0.1", "0.0.0.0"):
        assert ask(listens, kind, host="127.0.0.1:4200", origin=origin) == 403


def test_a_foreign_name_for_this_machine_is_refused_on_loopback() -> None:
    assert ask("127.0.0.1", host="evil.example:4200", origin="http://evil.example:4200") == 403
    assert ask("127.0.0.1", host="evil.example:4200") == 403
    assert ask("0.0.0.0", host="server.lab:4200", origin="http://server.lab:4200") == 200
