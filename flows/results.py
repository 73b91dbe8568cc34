"""A small HTTP server for what runs have delivered, so that Prefect's pages can link to reports.

    python -m flows.results --host 127.0.0.1 --port 4201      with PREFECT_API_URL set

    /runs/RUN/report.html    a file that the manifest of a run's results names; RUN is the id of the run
    /health, /metrics        `flows.health` as JSON, and in the text format of Prometheus

It only reads, and nothing outside of INVID_ROOTS. It refuses what Prefect's server refuses (`flows.server`):
pages of other origins, foreign names for this machine, and whoever lacks the password. What it gives out runs
no script but that of our reports: whoever makes a run names its folder, and what lies there may be of others.
"""

from __future__ import annotations

import argparse
import hmac
import json
import mimetypes
import os
import re
import socket
import sys
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

from flows.api import Api, ServeError, authorization
from flows.health import health, prometheus, stage_figures
from flows.roots import check_path
from flows.server import check_host, origins, refusal
from pipeline.commands.guard import guarded
from pipeline.errors import UserError
from pipeline.job.caches import default_cache
from pipeline.report.manifest import MANIFEST, JobResult
from pipeline.report.page import page_script

POLICY = (
    "default-src 'none'; img-src 'self' data:; media-src 'self' data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{page_script()[1]}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_RUN = re.compile(r"/runs/([0-9a-f-]{36})/([^/]+)")
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_BLOCK = 1 << 20
_SECONDS = 30.0


class NotServed(Exception):
    """A request that is not answered: a status, and a line that says why."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ResultsServer(ThreadingHTTPServer):
    """Listens on an address. watched: the folders for results of watched folders."""

    daemon_threads = True

    def __init__(self, host: str, port: int, api: Api, watched: Sequence[Path] = ()) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), Handler)
        self.host, self.api, self.watched = host, api, watched
        self.origins = origins(host, self.server_port)


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: ResultsServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "invid", ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        """Answer with a file or a record, or with a line that says why not."""
        try:
            self._check()
            path = unquote(urlsplit(self.path).path)
            if path in ("/health", "/metrics"):
                self._record(path)
            elif found := _RUN.fullmatch(path):
                self._file(file_of(self.server.api, found[1], found[2]))
            else:
                raise NotServed(HTTPStatus.NOT_FOUND, "there is nothing here")
        except NotServed as error:
            self._text(error.status, f"{error}\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_GET

    def _check(self) -> None:
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if reason := refusal(self.server.host, self.server.origins, host, origin):
            raise NotServed(HTTPStatus.FORBIDDEN, reason)
        wanted, given = authorization(), self.headers.get("Authorization", "")
        if wanted is not None and not hmac.compare_digest(wanted.encode(), given.encode()):
            raise NotServed(HTTPStatus.UNAUTHORIZED, "give Prefect's user and password")

    def _record(self, path: str) -> None:
        ask = self.server.api.ask
        try:
            found = health(ask, [default_cache()], self.server.watched)
            figures = stage_figures(ask) if path == "/metrics" else ()
        except ServeError as error:
            raise NotServed(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
        if path == "/health":
            self._text(HTTPStatus.OK, json.dumps(found.record(), indent=1), "application/json")
        else:
            self._text(HTTPStatus.OK, prometheus(found, figures), "text/plain; version=0.0.4")

    def _file(self, path: Path) -> None:
        try:
            file = path.open("rb")
        except OSError as error:
            raise NotServed(HTTPStatus.NOT_FOUND, f"this result cannot be read ({error.strerror})") from None
        with file:
            size = os.fstat(file.fileno()).st_size
            part = asked_range(self.headers.get("Range"), size)
            asked = range(size) if part is None else part
            self.send_response(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT)
            if part is not None:
                self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}")
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            self._headers(f"{kind}; charset=utf-8" if kind == "text/html" else kind, len(asked))
            if self.command == "HEAD":
                return
            file.seek(asked.start)
            left = len(asked)
            while left and (block := file.read(min(_BLOCK, left))):
                self.wfile.write(block)
                left -= len(block)

    def _text(self, status: HTTPStatus, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        data = text.encode()
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="invid"')
        self._headers(kind, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    def _headers(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()


def file_of(api: Api, run: str, name: str) -> Path:
    """A file of the results of a run, named by their manifest. Raises NotServed."""
    try:
        out = Path(str(api.ask("GET", f"flow_runs/{UUID(run)}")["parameters"].get("out")))
        check_path("out", out)
        if name not in {MANIFEST, *JobResult(out).manifest["outputs"].values()}:
            raise NotServed(HTTPStatus.NOT_FOUND, "this run has no such result")
        path = (out / name).resolve()
        if not path.is_relative_to(out.resolve()) or not path.is_file():
            raise NotServed(HTTPStatus.NOT_FOUND, "this result is gone")
    except (UserError, ServeError) as error:
        raise NotServed(HTTPStatus.NOT_FOUND, str(error)) from None
    except (OSError, ValueError) as error:  # such as a folder that may not be read
        raise NotServed(HTTPStatus.NOT_FOUND, f"this result cannot be read ({error})") from None
    return path


def asked_range(header: str | None, size: int) -> range | None:
    """The bytes that a Range header asks for; None for all of them. Raises NotServed."""
    found = _RANGE.fullmatch(header or "")
    if found is None or not (found[1] or found[2]):
        return None
    first = int(found[1]) if found[1] else max(0, size - int(found[2]))
    last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if first > last:
        raise NotServed(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"the file has {size} bytes")
    return range(first, last + 1)


def main() -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4201)
    parser.add_argument("--watched", type=Path, action="append", default=[])
    asked = parser.parse_args()
    check_host(asked.host)
    with ResultsServer(asked.host, asked.port, Api.of_environment(), asked.watched) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
