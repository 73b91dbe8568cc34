"""The API of Prefect's server in JSON, for what loads no Prefect and stays small, such as `invid serve`."""

from __future__ import annotations

import base64
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

from pipeline.errors import InvidError, UserError

Ask = Callable[[str, str, Any], Any]
"""Method, path below /api and body to the server's answer, all as JSON has them; `Api.ask` is one."""
URL = "PREFECT_API_URL"
"""Prefect's setting for the address of the API."""
PASSWORDS = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
"""Prefect's settings for `user:password`: of the server, and of those who ask it. Each stands for both."""
_BROKEN = (OSError, http.client.HTTPException, ValueError)
"""What a connection raises that fails or is cut off; urllib's errors are OSErrors."""
_WAITS = (0.5, 1.0, 2.0, 4.0, None)
"""Seconds until a busy server is asked again."""
_TOKEN_LASTS = 1800.0
"""Seconds for which a token against forged requests is used; the server's are good for an hour."""


class ServeError(InvidError):
    """A part of the service does not come up, or its server refuses something."""


def password() -> str | None:
    """Prefect's `user:password`, if the environment has one."""
    return next((os.environ[name] for name in PASSWORDS if os.environ.get(name)), None)


def authorization() -> str | None:
    """The Authorization header of who knows the password; None where there is none."""
    words = password()
    return f"Basic {base64.b64encode(words.encode()).decode()}" if words else None


class Api:
    """Asks one server; with the password, and with its token against forged requests where it wants one."""

    def __init__(self, url: str) -> None:
        """url: of the API, with /api at its end."""
        self.url = url
        self._client = str(uuid.uuid4())
        self._token: tuple[str | None, float] = (None, 0.0)  # None: the server wants none
        self._renewing = threading.Lock()  # a new token ends the one before

    @classmethod
    def of_environment(cls) -> Api:
        """That of PREFECT_API_URL. Raises UserError where it is not set."""
        if not (url := os.environ.get(URL)):
            raise UserError(f"set {URL} to the server's address, such as http://127.0.0.1:4200/api")
        return cls(url)

    def answers(self) -> bool:
        """Whether the server does."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except _BROKEN:
            return False

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The server's answer, from JSON. A busy server is asked again. Raises ServeError."""
        for wait in _WAITS:
            try:
                return self._once(method, path, body)
            except urllib.error.HTTPError as error:
                if error.code == 403:  # the server is another one, which does not know the token
                    self._token = (None, 0.0)
                if error.code not in (403, 503) or wait is None:
                    raise ServeError(f"{self.url}/{path}: {error}{_reason(error)}") from None
            except _BROKEN as error:
                raise ServeError(f"{self.url}/{path}: {error}") from None
            time.sleep(wait)
        return None

    def _once(self, method: str, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"} | self._identity()
        if method != "GET":
            with self._renewing:
                token = self._fresh_token()
            if token is not None:
                headers |= {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": self._client}
        data = None if body is None else json.dumps(body).encode()
        query = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(query, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _identity(self) -> dict[str, str]:
        header = authorization()
        return {} if header is None else {"Authorization": header}

    def _fresh_token(self) -> str | None:
        token, until = self._token
        if time.monotonic() > until:
            path = f"{self.url}/csrf-token?client={self._client}"
            try:
                query = urllib.request.Request(path, headers=self._identity())
                with urllib.request.urlopen(query, timeout=30) as answer:
                    token = str(json.loads(answer.read())["token"])
            except urllib.error.HTTPError as error:
                if error.code not in (404, 422):
                    raise
                token = None
            self._token = (token, time.monotonic() + _TOKEN_LASTS)
        return token


def _reason(error: urllib.error.HTTPError) -> str:
    """What the server says of an error, in a few words."""
    if error.code == 401:
        return f"; it has a password: set {PASSWORDS[1]}=user:password"
    said = " ".join(error.read(2000).decode(errors="replace").split())
    return f": {said[:300]}" if said else ""
