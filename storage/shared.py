"""A store of results and checkpoints that machines share, under a URL such as s3://bucket/folder.

URL/results/<key>.<uuid>.tar      a whole result; never changed once written
URL/results/<key>.json            written last: name, size and hash of the tar
URL/checkpoints/<key>/<file>      of a stage that is being computed
URL/claims/<key>/<n>              which machine computes <key> (`storage.claims`)

An object store has no rename: a result becomes visible by one small object that is written whole. Two
machines that put the same result write a tar each, and either is valid. A result is one object, since the
thousand chunks of a clip would take a thousand round trips.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from storage.claims import Claim, claim
from storage.errors import CacheDamagedError
from storage.files import replacing
from storage.layout import check_name
from storage.object_store import ObjectStore

LEASE = 60.0
"""Seconds after which a claim that was not renewed expires."""
_BLOCK = 1 << 22
_MOST_ENTRY = 1 << 16
_KEEP_CHECKPOINTS_APART = 60.0


class SharedStore(ObjectStore):
    """Results, checkpoints and claims under a URL. Methods raise StorageError for an unreachable store."""

    def __init__(self, url: str, lease: float = LEASE) -> None:
        """Open the store at `url`; `lease`: seconds after which a claim that is not renewed expires."""
        super().__init__(url)
        self.lease = lease
        self._put_at: dict[Path, tuple[int, float]] = {}

    def fetch(self, key: str, folder: Path) -> bool:
        """Unpack the result of `key` into `folder`, which is created; False where there is none.

        Raises CacheDamagedError for bytes that differ from what was put; the result is then removed there.
        """
        entry = self._entry(key)
        if entry is None:
            return False
        with self.reaching(), tempfile.TemporaryFile() as file:
            digest = hashlib.sha256()
            try:
                self.check_object(self.path("results", entry["object"]))
                with self.fs.open(self.path("results", entry["object"]), "rb") as source:
                    while block := source.read(_BLOCK):
                        if file.tell() + len(block) > entry["bytes"]:
                            break
                        digest.update(block)
                        file.write(block)
            except FileNotFoundError:
                return False
            try:
                if digest.hexdigest() != entry["sha256"]:
                    raise ValueError
                _unpack(file, folder)
            except (tarfile.TarError, ValueError, EOFError):
                self.remove(key)
                raise CacheDamagedError(key, f"it is not what was put to {self.url}") from None
        return True

    def put(self, key: str, folder: Path) -> None:
        """Upload the result in `folder` and remove the checkpoints of `key`."""
        name = f"{check_name(key)}.{uuid.uuid4().hex[:12]}.tar"
        with self.reaching():
            self.make_folder(self.path("results", name))
            digest, size = hashlib.sha256(), 0
            with self.fs.open(self.path("results", name), "wb") as target:
                writer: Any = _Counted(target, digest)
                with tarfile.open(fileobj=writer, mode="w|") as archive:
                    for path in sorted(folder.rglob("*")):
                        if path.is_file():
                            archive.add(path, path.relative_to(folder).as_posix())
                size = writer.count
            entry = {"object": name, "sha256": digest.hexdigest(), "bytes": size}
            self.write(self.path("results", f"{key}.json"), json.dumps(entry).encode())
            for old in self.names("checkpoints", key):
                self.remove_object(self.path("checkpoints", key, old))

    def _entry(self, key: str) -> dict[str, Any] | None:
        """The entry <key>.json; None where there is none or it is damaged."""
        with self.reaching():
            try:
                path = self.path("results", f"{check_name(key)}.json")
                found = json.loads(self.read(path, _MOST_ENTRY))
                name, size, digest = found["object"], found["bytes"], found["sha256"]
                return {"object": check_name(name), "bytes": int(size), "sha256": str(digest)}
            except FileNotFoundError:
                return None
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                self.remove(key)
                return None

    def remove(self, key: str) -> None:
        """Remove a result: its entry first, then its tars."""
        with self.reaching():
            self.remove_object(self.path("results", f"{check_name(key)}.json"))
            for name in self.names("results"):
                if name.startswith(f"{key}.") and name.endswith(".tar"):
                    self.remove_object(self.path("results", name))

    def keys(self) -> dict[str, int]:
        """Size in bytes of each result by key."""
        with self.reaching():
            keys = [n.removesuffix(".json") for n in self.names("results") if n.endswith(".json")]
        entries = {key: self._entry(key) for key in keys}
        return {key: entry["bytes"] for key, entry in entries.items() if entry is not None}

    def fetch_checkpoints(self, key: str, folder: Path) -> None:
        """Download the checkpoints of `key` into `folder`, replacing those that are there."""
        with self.reaching():
            for name in map(check_name, self.names("checkpoints", check_name(key))):
                with contextlib.suppress(FileNotFoundError):
                    data = self.fs.cat_file(self.path("checkpoints", key, name))
                    with replacing(folder / name) as side:
                        side.write_bytes(data)

    def put_checkpoints(self, key: str, folder: Path) -> None:
        """Upload the finished files of `folder` that have changed, each at most once a minute."""
        for path in sorted(folder.glob("*")) if folder.is_dir() else []:
            if path.name.startswith(".") or path.suffix == ".partial" or ".previous" in path.name:
                continue
            with contextlib.suppress(FileNotFoundError):
                stamp, (last, when) = path.stat().st_mtime_ns, self._put_at.get(path, (0, -1e9))
                if stamp == last or time.monotonic() - when < min(_KEEP_CHECKPOINTS_APART, self.lease):
                    continue
                with self.reaching():
                    self.write(self.path("checkpoints", check_name(key), path.name), path.read_bytes())
                self._put_at[path] = stamp, time.monotonic()

    def claim(self, key: str, on_wait: Callable[[], None] | None = None) -> Claim:
        """Claim `key` for this machine; see `storage.claims.claim`."""
        return claim(self, key, self.lease, on_wait)


def _unpack(file: IO[bytes], folder: Path) -> None:
    """Unpack the regular files of a tar. Raises TarError or ValueError for anything else in it."""
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        members = archive.getmembers()
        if not all(member.isreg() and not member.issparse() for member in members):
            raise ValueError("it holds links or devices")
        archive.extractall(folder, members, filter="data")


class _Counted:
    """File object for tarfile that passes on, hashes and counts."""

    def __init__(self, target: Any, digest: Any) -> None:
        self._target, self._digest, self.count = target, digest, 0

    def write(self, data: bytes) -> int:
        """Pass bytes on."""
        self._digest.update(data)
        self.count += len(data)
        self._target.write(data)
        return len(data)
