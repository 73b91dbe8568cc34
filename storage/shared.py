"""A store that several machines share: any file system that fsspec knows, such as s3://bucket/folder.

URL/results/<key>.<uuid>.tar      a whole result; never changed once written
URL/results/<key>.json            written last: which tar, its size and hash
URL/checkpoints/<key>/<file>      of a stage that is being computed
URL/claims/<key>/<n>              who computes <key>; the highest n counts

An object store has no rename. What makes a result visible is one small object that is written whole; two
machines that put the same result each write a tar of their own, and either is right. A result is one
object, as a clip's thousand chunks would take a thousand round trips.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.errors import CacheDamagedError, StorageError
from storage.layout import check_name

LEASE = 60.0
"""Seconds without a sign of life after which a claim counts no more."""
_BLOCK = 1 << 22
_KEEP_CHECKPOINTS_APART = 60.0
_WITHOUT_FOLDERS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "memory"}


class SharedStore:
    """Results and checkpoints under a URL. Raises StorageError where the store cannot be reached."""

    def __init__(self, url: str, lease: float = LEASE) -> None:
        self.url, self.lease = url, lease
        try:
            import fsspec

            self.fs, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise StorageError(f"{url}: {error}; install what it names") from error
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{url}: no such kind of store ({error}); give a URL such as s3://bucket/folder"
            ) from error
        self._put_at: dict[Path, tuple[int, float]] = {}

    def _path(self, *parts: str) -> str:
        return "/".join([self.root.rstrip("/"), *parts])

    def fetch(self, key: str, folder: Path) -> bool:
        """Unpack the result of `key` into `folder`, which is made; False where there is none.

        Raises CacheDamagedError where it is not what was put; it is then removed there.
        """
        entry = self._entry(key)
        if entry is None:
            return False
        with _reaching(self.url), tempfile.TemporaryFile() as file:
            digest = hashlib.sha256()
            try:
                with self.fs.open(
                    self._path("results", check_name(str(entry.get("object")))), "rb"
                ) as source:
                    while block := source.read(_BLOCK):
                        digest.update(block)
                        file.write(block)
            except FileNotFoundError:
                return False
            if digest.hexdigest() != entry.get("sha256"):
                self.remove(key)
                raise CacheDamagedError(key, f"it is not what was put to {self.url}")
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                archive.extractall(folder, filter="data")
        return True

    def put(self, key: str, folder: Path) -> None:
        """Make the result in `folder` known to all."""
        name = f"{check_name(key)}.{uuid.uuid4().hex[:12]}.tar"
        with _reaching(self.url):
            self._make_folder(self._path("results", name))
            digest, size = hashlib.sha256(), 0
            with self.fs.open(self._path("results", name), "wb") as target:
                writer: Any = _Counted(target, digest)
                with tarfile.open(fileobj=writer, mode="w|") as archive:
                    for path in sorted(folder.rglob("*")):
                        if path.is_file():
                            archive.add(path, path.relative_to(folder).as_posix())
                size = writer.count
            entry = {"object": name, "sha256": digest.hexdigest(), "bytes": size}
            self._pipe(self._path("results", f"{key}.json"), json.dumps(entry).encode())
            for old in self._names("checkpoints", key):
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self._path("checkpoints", key, old))

    def _entry(self, key: str) -> dict[str, Any] | None:
        with _reaching(self.url):
            try:
                found = json.loads(self.fs.cat_file(self._path("results", f"{check_name(key)}.json")))
            except FileNotFoundError:
                return None
            except ValueError:
                self.remove(key)
                return None
        return found if isinstance(found, dict) else None

    def remove(self, key: str) -> None:
        """Forget a result: its entry first, then every tar of it."""
        with _reaching(self.url):
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self._path("results", f"{check_name(key)}.json"))
            for name in self._names("results"):
                if name.startswith(f"{key}.") and name.endswith(".tar"):
                    with contextlib.suppress(FileNotFoundError):
                        self.fs.rm_file(self._path("results", name))

    def keys(self) -> dict[str, int]:
        """Every result's key and size in bytes."""
        with _reaching(self.url):
            keys = [n.removesuffix(".json") for n in self._names("results") if n.endswith(".json")]
        entries = {key: self._entry(key) for key in keys}
        return {key: int(entry["bytes"]) for key, entry in entries.items() if entry is not None}

    def _names(self, *folder: str) -> list[str]:
        """Names of the objects in a folder; none where there is no such folder."""
        try:
            found = self.fs.ls(self._path(*folder), detail=True)
        except FileNotFoundError:
            return []
        return sorted(str(e["name"]).rsplit("/", 1)[-1] for e in found if e["type"] == "file")

    # Checkpoints

    def fetch_checkpoints(self, key: str, folder: Path) -> None:
        """Bring what another machine left of `key`; it takes the place of what is here."""
        with _reaching(self.url):
            for name in map(check_name, self._names("checkpoints", check_name(key))):
                with contextlib.suppress(FileNotFoundError):
                    data = self.fs.cat_file(self._path("checkpoints", key, name))
                    side = folder / f".{name}.part"
                    side.write_bytes(data)
                    side.replace(folder / name)

    def put_checkpoints(self, key: str, folder: Path) -> None:
        """Put every whole file of `folder` that is new since it was last put, at most once a minute."""
        for path in sorted(folder.glob("*")) if folder.is_dir() else []:
            if path.name.startswith(".") or path.suffix == ".partial" or ".previous" in path.name:
                continue
            with contextlib.suppress(FileNotFoundError):
                stamp, (last, when) = path.stat().st_mtime_ns, self._put_at.get(path, (0, -1e9))
                if stamp == last or time.monotonic() - when < min(_KEEP_CHECKPOINTS_APART, self.lease):
                    continue
                with _reaching(self.url):
                    self._pipe(self._path("checkpoints", check_name(key), path.name), path.read_bytes())
                self._put_at[path] = stamp, time.monotonic()

    # Claims

    def claim(self, key: str, on_wait: Callable[[], None] | None = None) -> Claim:
        """The right to compute `key`; waits while another machine has it and shows signs of life."""
        mine = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        seen: tuple[int, bytes] = (0, b"")
        since, told = time.monotonic(), False
        while True:
            number, sign = self._holder(key)
            if (number, sign) != seen:
                seen, since = (number, sign), time.monotonic()
            # By our own clock only: those of two machines need not agree.
            if number == 0 or time.monotonic() - since > self.lease:
                if self._create(self._claim_path(key, number + 1), f"{mine} 0".encode()):
                    return Claim(self, key, number + 1, mine)
                continue
            if not told and on_wait is not None:
                on_wait()
            told = True
            time.sleep(min(1.0, self.lease / 10))

    def _claim_path(self, key: str, number: int) -> str:
        return self._path("claims", check_name(key), f"{number:06d}")

    def _holder(self, key: str) -> tuple[int, bytes]:
        """Number and content of the claim that counts; (0, b"") where nobody claims `key`."""
        with _reaching(self.url):
            names = self._names("claims", check_name(key))
            if not names:
                return 0, b""
            try:
                return int(names[-1]), self.fs.cat_file(self._path("claims", key, names[-1]))
            except FileNotFoundError:  # given back in this moment
                return 0, b""

    def _create(self, path: str, data: bytes) -> bool:
        """Write an object that must not exist yet; False where it does."""
        with _reaching(self.url):
            self._make_folder(path)
            try:
                self.fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "PreconditionFailed" in str(error) or "ConditionalRequestConflict" in str(error):
                    return False
                raise
        return True

    def _pipe(self, path: str, data: bytes) -> None:
        self._make_folder(path)
        self.fs.pipe_file(path, data)

    def _make_folder(self, path: str) -> None:
        """That an object lies in; object stores have none."""
        names = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        if not names & _WITHOUT_FOLDERS:
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)


class Claim:
    """A claim that is held: a thread shows signs of life until release()."""

    def __init__(self, store: SharedStore, key: str, number: int, mine: str) -> None:
        self._store, self._key, self._number, self._mine = store, key, number, mine
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        beat = 0
        while not self._done.wait(self._store.lease / 4):
            beat += 1
            with contextlib.suppress(StorageError):  # the next beat may reach it again
                path = self._store._claim_path(self._key, self._number)
                self._store._pipe(path, f"{self._mine} {beat}".encode())

    def release(self) -> None:
        """Give it up, and with it those of the dead before us."""
        self._done.set()
        self._thread.join()
        with contextlib.suppress(StorageError), _reaching(self._store.url):
            for number in range(self._number, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._store.fs.rm_file(self._store._claim_path(self._key, number))


class _Counted:
    """What tarfile writes to: passes on, hashes and counts."""

    def __init__(self, target: Any, digest: Any) -> None:
        self._target, self._digest, self.count = target, digest, 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.count += len(data)
        self._target.write(data)
        return len(data)


@contextlib.contextmanager
def _reaching(url: str) -> Any:
    """What a store or the way to it has to say, as StorageError; FileNotFoundError passes."""
    try:
        yield
    except (StorageError, FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        if not isinstance(error, OSError | TimeoutError) and "boto" not in type(error).__module__:
            raise
        raise StorageError(
            f"{url}: {type(error).__name__}: {error}; is it reachable, and may you write there?"
        ) from error
