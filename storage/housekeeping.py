"""Housekeeping of a cache: list, verify, remove entries, make room. Entries in use are left alone."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from storage.cache import CHECKPOINTS, INGEST, LOCKS, CacheReader, StageCache
from storage.errors import CacheDamagedError, StorageError, writing
from storage.files import read_bounded
from storage.layout import MANIFEST, MOST_MANIFEST, disk_bytes, is_ingested, is_key
from storage.locks import FileLock, Hold
from storage.result import StageResult


@dataclass(frozen=True)
class Entry:
    """An entry of the cache: a result, the checkpoints of an unfinished one, or an ingested file."""

    key: str
    kind: str  # "result", "checkpoint" or "file"
    bytes: int
    used: float  # time of the last use, seconds since 1970
    label: str = ""
    made: str = ""
    seconds: float = 0.0  # of computing it

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self.key.partition("-")[0]


def entries(cache: CacheReader) -> list[Entry]:
    """All entries of a cache, the least recently used first."""
    found = []
    for path in cache.root.glob(f"*/{MANIFEST}"):
        if is_key(path.parent.name):
            with contextlib.suppress(OSError):
                found.append(_result(path))
    for folder in (cache.root / CHECKPOINTS).glob("*"):
        if not is_key(folder.name):
            continue
        with contextlib.suppress(OSError):
            used = max([folder.stat().st_mtime, *(p.stat().st_mtime for p in folder.iterdir())])
            found.append(Entry(folder.name, "checkpoint", disk_bytes(folder), used))
    for path in (cache.root / INGEST).glob("*"):
        if not is_ingested(path.name):
            continue
        with contextlib.suppress(OSError):
            info = path.stat()
            found.append(Entry(path.name, "file", info.st_blocks * 512, info.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.key))


def _result(path: Path) -> Entry:
    """Entry of the result with this manifest."""
    used = path.stat().st_mtime
    try:
        about = json.loads(read_bounded(path, MOST_MANIFEST))["about"]
        size, seconds = int(about["bytes"]), float(about["seconds"])
        label, made = str(about["label"]), str(about["made"])
    except (
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
        OSError,
    ):  # damaged, or of an older format; it can still be removed
        return Entry(path.parent.name, "result", disk_bytes(path.parent), used)
    return Entry(path.parent.name, "result", size, used, label, made, seconds)


def matching(cache: CacheReader, words: list[str]) -> list[Entry]:
    """Entries whose key starts with one of `words`, or whose label equals it.

    Raises StorageError for a word that matches none.
    """
    found = entries(cache)
    chosen = []
    for word in words:
        fits = [e for e in found if e.key.startswith(word) or (e.label and e.label == word)]
        if not fits:
            raise StorageError(
                f"nothing in {cache.root} is called '{word}'; `invid cache ls` shows what there is"
            )
        chosen += [e for e in fits if e not in chosen]
    return chosen


def remove(cache: StageCache, entry: Entry) -> bool:
    """Remove an entry; False where a job reads or computes it, or it is gone already."""
    with writing(cache.root):
        if entry.kind == "checkpoint":
            return _remove_checkpoint(cache, entry.key)
        path = cache.root / (INGEST if entry.kind == "file" else entry.key)
        path /= entry.key if entry.kind == "file" else MANIFEST
        try:
            hold = Hold.exclusive(path)
        except FileNotFoundError:
            return False
        if hold is None:
            return False
        if entry.kind == "file":
            path.unlink()
            hold.close()
            return True
        doomed = cache.root / f".tmp-{uuid.uuid4().hex[:12]}.{entry.key}"
        try:
            path.parent.rename(doomed)
        finally:
            hold.close()
        shutil.rmtree(doomed, ignore_errors=True)
        return True


def _remove_checkpoint(cache: StageCache, key: str) -> bool:
    """Remove the checkpoints of `key`; False where a job computes it."""
    lock = FileLock(cache.root / LOCKS / key)
    if not lock.acquire(wait=False):
        return False
    try:
        shutil.rmtree(cache.root / CHECKPOINTS / key)
    finally:
        lock.release()
    return True


def make_room(cache: StageCache, keep: int) -> tuple[list[Entry], int]:
    """Remove the least recently used entries until at most `keep` bytes are left.

    Returns the removed entries and the bytes that are left: more than `keep` where jobs use the rest.
    """
    found = entries(cache)
    left = sum(entry.bytes for entry in found)
    removed = []
    for entry in found:
        if left <= keep:
            break
        if remove(cache, entry):
            removed.append(entry)
            left -= entry.bytes
    return removed, left


def verify(cache: StageCache, entry: Entry) -> str | None:
    """Check every byte of a result; removes a damaged one and returns what is wrong with it, else None."""
    if entry.kind != "result":
        return None
    path = cache.root / entry.key / MANIFEST
    try:
        with contextlib.closing(Hold.shared(path)) as hold:
            StageResult(path.parent, entry.key, hold).verify()
    except FileNotFoundError:
        return None  # removed meanwhile
    except CacheDamagedError as error:
        cache.remove(entry.key)
        return error.what
    return None
