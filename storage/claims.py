"""Claims: one machine at a time computes a key, by numbered objects in a shared store.

URL/claims/<key>/<n>     who computes <key>; the highest n counts

A holder rewrites its claim ("heartbeat"). A claim that was not rewritten for the time of a lease is expired:
the next machine creates number n + 1, which only one can. Nothing expired is taken away, so two machines
cannot both remove it and both believe that they have the key.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable

from storage.errors import StorageError
from storage.layout import check_name
from storage.object_store import ObjectStore

_MOST_CLAIM = 4096
"""Bytes of a claim that are read."""


class Claim:
    """A held claim; a thread renews it until release()."""

    def __init__(self, store: ObjectStore, key: str, number: int, owner: str, lease: float) -> None:
        """Start to renew claim `number` of `key`, four times per `lease` seconds."""
        self._store, self._key, self._number = store, key, number
        self._owner, self._lease = owner, lease
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        beat = 0
        while not self._done.wait(self._lease / 4):
            beat += 1
            path = _claim_path(self._store, self._key, self._number)
            with contextlib.suppress(StorageError), self._store.reaching():  # the next beat may reach it
                self._store.write(path, f"{self._owner} {beat}".encode())

    def release(self) -> None:
        """Remove the claim and the expired ones before it."""
        self._done.set()
        self._thread.join()
        with contextlib.suppress(StorageError), self._store.reaching():
            for number in range(self._number, 0, -1):
                self._store.remove_object(_claim_path(self._store, self._key, number))


def claim(store: ObjectStore, key: str, lease: float, on_wait: Callable[[], None] | None = None) -> Claim:
    """Claim `key`; waits while another machine holds it and renews its claim.

    on_wait is called once before waiting. Raises StorageError.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    seen: tuple[int, bytes] = (0, b"")
    since, told = time.monotonic(), False
    while True:
        number, content = _newest(store, key)
        if (number, content) != seen:
            seen, since = (number, content), time.monotonic()
        # Expiry by our own clock alone: the clocks of two machines need not agree.
        if number == 0 or time.monotonic() - since > lease:
            if store.create(_claim_path(store, key, number + 1), f"{owner} 0".encode()):
                return Claim(store, key, number + 1, owner, lease)
            continue
        if not told and on_wait is not None:
            on_wait()
        told = True
        time.sleep(min(1.0, lease / 10))


def _claim_path(store: ObjectStore, key: str, number: int) -> str:
    return store.path("claims", check_name(key), f"{number:06d}")


def _newest(store: ObjectStore, key: str) -> tuple[int, bytes]:
    """Number and content of the newest claim; (0, b"") where there is none."""
    with store.reaching():
        names = [n for n in store.names("claims", check_name(key)) if re.fullmatch("[0-9]{6}", n)]
        if not names:
            return 0, b""
        try:
            return int(names[-1]), store.read(store.path("claims", key, names[-1]), _MOST_CLAIM)
        except FileNotFoundError:  # released at this moment
            return 0, b""
