"""The stage cache: find a result, begin one, keep checkpoints; what is damaged is found and dropped."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.errors import CacheDamagedError, StorageError, writing
from storage.layout import MANIFEST, check_name
from storage.locks import FileLock, Hold
from storage.result import StageResult
from storage.shared import SharedStore
from storage.writer import StageWriter

LOCKS, CHECKPOINTS, INGEST = ".locks", "checkpoints", "ingest"


class StageCache:
    """Results below one folder, by key. Readers see published ones only; one process at a time computes one.

    Args:
        on_damage: told, in one line, of every damaged result that is dropped, and of a shared store that
            cannot be reached; work goes on without it.
        shared: a store that other machines use too. A result that is not here is fetched from there, and
            what is computed here is put there.
        label: whose results these are, for `invid cache ls`.
    """

    def __init__(
        self,
        root: Path,
        on_damage: Callable[[str], None] | None = None,
        shared: SharedStore | None = None,
        label: str = "",
    ) -> None:
        self.root = root
        self.shared = shared
        self.label = label
        self._on_damage = on_damage or (lambda message: None)
        self._fetched: set[str] = set()
        with writing(root):
            (root / LOCKS).mkdir(parents=True, exist_ok=True)
            (root / CHECKPOINTS).mkdir(exist_ok=True)
            probe = root / f".probe-{uuid.uuid4().hex[:12]}"
            probe.touch()
            probe.unlink()
            self._sweep()

    def get(self, key: str) -> StageResult | None:
        """The published result of `key`, or None; a damaged one is reported, dropped and None."""
        found = self._here(key)
        if found is None and self.shared is not None and self._fetch(key):
            found = self._here(key)
        return found

    def _here(self, key: str) -> StageResult | None:
        folder = self.root / check_name(key)
        try:
            hold = Hold.take(folder / MANIFEST)
            assert hold is not None  # it waits
        except FileNotFoundError:
            if folder.is_dir():
                self.discard(CacheDamagedError(key, "its manifest is missing"))
            return None
        except OSError as error:
            self.discard(CacheDamagedError(key, f"its manifest cannot be read: {error}"))
            return None
        try:
            result = StageResult(folder, key, hold)
            result.check()
        except CacheDamagedError as error:
            hold.close()
            self.discard(error)
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read is as good
            os.utime(folder / MANIFEST)
        return result

    def _fetch(self, key: str) -> bool:
        """Bring a result over from the shared store; False where it is not there or is damaged."""
        assert self.shared is not None
        folder = self.root / f".tmp-{uuid.uuid4().hex[:12]}.{check_name(key)}"
        lock = FileLock(self.root / LOCKS / folder.name)  # so that the folder is not swept meanwhile
        with writing(self.root):
            lock.acquire(wait=True)
            try:
                if not self.shared.fetch(key, folder):
                    return False
                with contextlib.suppress(OSError):  # another process was quicker
                    folder.rename(self.root / key)
                self._fetched.add(key)
                return True
            except StorageError as error:
                self._on_damage(str(error))
                return False
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()

    def begin(self, key: str, on_wait: Callable[[], None] | None = None) -> StageWriter:
        """A writer for `key`, to be used in a `with` block.

        Waits while another process computes the same key (`on_wait` is called once before), so look with
        get() again afterwards. Raises CacheWriteError.
        """
        waited = on_wait or (lambda: None)
        with writing(self.root), contextlib.ExitStack() as held:
            lock = FileLock(self.root / LOCKS / check_name(key))
            if not lock.acquire(wait=False):
                waited()
                lock.acquire(wait=True)
            held.callback(lock.release)
            if self.shared is not None:
                with self._bearing():
                    held.callback(self.shared.claim(key, waited).release)
            release = held.pop_all()  # is the writer's from here on
            try:
                on_publish = self._share if self.shared is not None else None
                return StageWriter(self.root, key, release.close, self.label, on_publish)
            except BaseException:
                release.close()
                raise

    def _share(self, result: StageResult) -> None:
        assert self.shared is not None
        with self._bearing():
            self.shared.put(result.key, result.folder)

    @contextlib.contextmanager
    def _bearing(self) -> Iterator[None]:
        """A shared store that cannot be reached is told of, and stops nothing."""
        try:
            yield
        except StorageError as error:
            self._on_damage(str(error))

    def hold(self, path: Path) -> Hold:
        """Keep a file of the folder INGEST from being removed, as long as what is returned lives."""
        with writing(self.root):
            held = Hold.take(path)
            assert held is not None  # it waits
            with contextlib.suppress(OSError):
                os.utime(path)
            return held

    def checkpoint_dir(self, key: str) -> Path:
        """A folder for the checkpoints of `key`, kept until its result is published; for use in begin()."""
        folder = self.root / CHECKPOINTS / check_name(key)
        with writing(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            if self.shared is not None:
                with self._bearing():
                    self.shared.fetch_checkpoints(key, folder)
        return folder

    def share_checkpoint(self, key: str) -> None:
        """Let other machines go on from the newest checkpoint of `key`, should this one die."""
        if self.shared is not None:
            with self._bearing():
                self.shared.put_checkpoints(key, self.root / CHECKPOINTS / check_name(key))

    def discard(self, damage: CacheDamagedError) -> None:
        """Report and drop a damaged result, so that it is computed again."""
        self._on_damage(str(damage))
        if self.shared is not None and damage.key in self._fetched:  # it came so from there
            self.shared.remove(damage.key)
        self.remove(damage.key)

    def remove(self, key: str) -> None:
        """Drop a result, whoever reads it."""
        with writing(self.root):
            doomed = self.root / f".tmp-{uuid.uuid4().hex[:12]}.{check_name(key)}"
            try:
                (self.root / key).rename(doomed)
            except FileNotFoundError:
                return
            shutil.rmtree(doomed, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed writers left: a temporary folder whose key nobody holds."""
        for folder in self.root.glob(".tmp-*"):
            key = folder.name.partition(".tmp-")[2].partition(".")[2]
            locks = [FileLock(self.root / LOCKS / name) for name in (key, folder.name)]
            if key and all(lock.acquire(wait=False) for lock in locks):
                shutil.rmtree(folder, ignore_errors=True)
            for lock in locks:
                lock.release()


def is_published(root: Path, key: str) -> bool:
    """Whether the folder of a cache holds a result of this key; nothing is checked, touched or made."""
    return (root / check_name(key) / MANIFEST).is_file()
