"""Prefect's server for programs and for its own pages: what a page of another origin asks is refused.

    python -m flows.server --host 127.0.0.1 --port 4200

Prefect's own settings leave gaps. CORS keeps answers from a page but not requests from the server, a token
against forged requests is not asked for on WebSockets, and neither notices a name that an attacker has
pointed at this machine (DNS rebinding).
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def origins(host: str, port: int) -> list[str]:
    """Origins of the server's own pages: its address, under each name that it has on loopback."""
    names = LOOPBACK if host in LOOPBACK else (host,)
    return [f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}" for name in names]


class OwnOrigin:
    """An ASGI app that lets requests through to `app` from programs and from pages of the server itself."""

    def __init__(self, app: App, host: str, port: int) -> None:
        """host, port: where the server listens; on loopback it is asked by the names of loopback alone."""
        self._app, self._origins = app, set(origins(host, port))
        self._names = set(LOOPBACK) if host in LOOPBACK else None

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
        """Why a request is refused; empty where it is not."""
        sent = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = sent.get(b"host", ""), sent.get(b"origin")
        if self._names is not None and urlsplit(f"//{host}").hostname not in self._names:
            return f"{host!r} is no name of this server"
        own = origin is None or origin in self._origins or urlsplit(origin).netloc == host
        return "" if own else f"{origin!r} is not the origin of this server's pages"


def main() -> None:
    """Serve until ended."""
    import uvicorn
    from prefect.server.api.server import create_app

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4200)
    args = parser.parse_args()
    app = OwnOrigin(create_app(final=True), args.host, args.port)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
