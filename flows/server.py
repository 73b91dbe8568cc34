"""Prefect's server for programs and for its own pages: what a page of another origin asks is refused.

    python -m flows.server --host 127.0.0.1 --port 4200

Prefect's own settings leave gaps. CORS keeps answers from a page but not requests from the server, a token
against forged requests is not asked for on WebSockets, and neither notices a name that an attacker has
pointed at this machine (DNS rebinding).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from flows.api import PASSWORDS, password
from pipeline.commands.guard import guarded
from pipeline.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
RESULTS_URL = "INVID_RESULTS_URL"
"""Environment variable: where `flows.results` answers; `invid serve` sets it for its workers."""
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def check_host(host: str) -> None:
    """Raise UserError for an address that others reach, where there is no password."""
    if host not in LOOPBACK and password() is None:
        raise UserError(
            f"--host {host}: whoever reaches the server can run commands here and read results; "
            f"set {PASSWORDS[1]}=user:password"
        )


def address(host: str, port: int) -> str:
    """The origin of a server that listens here."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def origins(host: str, port: int) -> list[str]:
    """Origins of the server's own pages: its address, under each name that it has on loopback."""
    return [address(name, port) for name in (LOOPBACK if host in LOOPBACK else (host,))]


def refusal(listens: str, own: Collection[str], host: str, origin: str | None) -> str:
    """Why a request is refused; empty where it is not.

    listens: the address of the server; on loopback it is asked by the names of loopback alone.
    own: origins of its pages. host, origin: headers of the request.
    """
    if listens in LOOPBACK and _name(host) not in LOOPBACK:
        return f"{host!r} is no name of this server"
    if origin is None or origin in {*own, f"http://{host}", f"https://{host}"}:
        return ""
    return f"{origin!r} is not the origin of this server's pages"


def _name(host: str) -> str | None:
    """The name in a Host header, without the port; None where there is none."""
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{host}").hostname
    return None


class OwnOrigin:
    """An ASGI app that lets requests through to `app` from programs and from pages of the server itself."""

    def __init__(self, app: App, host: str, port: int) -> None:
        """host, port: where the server listens."""
        self._app, self._host, self._own = app, host, origins(host, port)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 403 and one line."""
        reason = self._refusal(scope) if scope["type"] in ("http", "websocket") else ""
        if not reason:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": f"{reason}\n".encode()})

    def _refusal(self, scope: Message) -> str:
        sent = {name: value.decode("latin-1") for name, value in scope["headers"]}
        return refusal(self._host, self._own, sent.get(b"host", ""), sent.get(b"origin"))


def main() -> int:
    """Serve until ended."""
    import uvicorn
    from prefect.server.api.server import create_app

    from flows.database import take_turns

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4200)
    args = parser.parse_args()
    check_host(args.host)
    take_turns()
    app = OwnOrigin(create_app(final=True), args.host, args.port)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
