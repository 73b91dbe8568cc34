"""The stage cache: look up, compute and discard results, keep checkpoints. Damaged results are dropped."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.errors import CacheDamagedError, CacheWriteError, StorageError, writing
from storage.layout import MANIFEST, TAG, check_name, draft_key, is_cache, is_key, mark
from storage.locks import FileLock, Hold
from storage.result import StageResult
from storage.shared import SharedStore
from storage.writer import StageWriter

LOCKS, CHECKPOINTS, INGEST = ".locks", "checkpoints", "ingest"


class CacheReader:
    """Reads the results in a folder and never writes or removes anything there.

    Args:
        root: the folder of a cache.
        on_damage: called with one line for every damaged result that is met.
    """

    def __init__(self, root: Path, on_damage: Callable[[str], None] | None = None) -> None:
        self.root = root
        self._on_damage = on_damage or (lambda message: None)

    def get(self, key: str) -> StageResult | None:
        """The published result of `key`, or None; a damaged one is reported and None."""
        return self._here(key) if is_key(key) else None

    def _here(self, key: str) -> StageResult | None:
        """The result of `key` in this folder, checked and held, or None."""
        folder = self.root / check_name(key)
        try:
            hold = Hold.shared(folder / MANIFEST)
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
        return result

    def discard(self, damage: CacheDamagedError) -> None:
        """Report a damaged result."""
        self._on_damage(str(damage))


class StageCache(CacheReader):
    """Results by key below one folder. Readers see published results only; one process computes a key.

    Args:
        root: the folder, created where it is missing.
        on_damage: called with one line for every damaged result that is dropped, and for a shared store that
            cannot be reached; work goes on without it.
        shared: a store shared with other machines. Results missing here are fetched from it; results
            computed here are put there.
        label: name of the clip, for `invid cache ls`.
    """

    def __init__(
        self,
        root: Path,
        on_damage: Callable[[str], None] | None = None,
        shared: SharedStore | None = None,
        label: str = "",
    ) -> None:
        super().__init__(root, on_damage)
        self.shared = shared
        self.label = label
        self._fetched: set[str] = set()
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            mark(root)
            if not is_cache(root):
                raise CacheWriteError(
                    f"{root} is the cache of another program, as its {TAG} says; name another folder"
                )
            (root / LOCKS).mkdir(exist_ok=True)
            (root / CHECKPOINTS).mkdir(exist_ok=True)
            self._sweep()

    def get(self, key: str) -> StageResult | None:
        """The published result of `key`, or None. A damaged one is reported, dropped and None."""
        found = self._here(key)
        if found is None and self.shared is not None and self._fetch(self.shared, key):
            found = self._here(key)
        if found is not None:
            with contextlib.suppress(OSError):  # a read-only cache keeps no time of use
                os.utime(self.root / key / MANIFEST)
        return found

    def _fetch(self, store: SharedStore, key: str) -> bool:
        """Fetch a result from the shared store; False where it is missing or damaged there."""
        folder = self.root / f".tmp-{uuid.uuid4().hex[:12]}.{check_name(key)}"
        lock = FileLock(self.root / LOCKS / folder.name)  # keeps the folder from being swept
        with writing(self.root):
            lock.acquire(wait=True)
            try:
                if not store.fetch(key, folder):
                    return False
                with contextlib.suppress(OSError):  # another process published it first
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
        """Lock `key` and return a writer for it, to be used in a `with` block.

        Waits while another process computes the same key (`on_wait` is called once before), so call get()
        again afterwards. Raises CacheWriteError.
        """
        waited = on_wait or (lambda: None)
        with writing(self.root), contextlib.ExitStack() as held:
            lock = FileLock(self.root / LOCKS / check_name(key))
            if not lock.acquire(wait=False):
                waited()
                lock.acquire(wait=True)
            held.callback(lock.release)
            if self.shared is not None:
                with self._tolerating_store():
                    held.callback(self.shared.claim(key, waited).release)
            release = held.pop_all()  # the writer owns the locks from here on
            try:
                return StageWriter(self.root, key, release.close, self.label, self._share)
            except BaseException:
                release.close()
                raise

    def _share(self, result: StageResult) -> None:
        """Upload a published result, where there is a shared store."""
        if self.shared is not None:
            with self._tolerating_store():
                self.shared.put(result.key, result.folder)

    @contextlib.contextmanager
    def _tolerating_store(self) -> Iterator[None]:
        """Report errors of the shared store through `on_damage` and go on."""
        try:
            yield
        except StorageError as error:
            self._on_damage(str(error))

    def hold(self, path: Path) -> Hold:
        """Keep a file of the folder INGEST from being removed while the returned object lives."""
        with writing(self.root):
            held = Hold.shared(path)
            with contextlib.suppress(OSError):
                os.utime(path)
            return held

    def checkpoint_dir(self, key: str) -> Path:
        """Folder for the checkpoints of `key`, kept until its result is published; for use within begin()."""
        folder = self.root / CHECKPOINTS / check_name(key)
        with writing(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            if self.shared is not None:
                with self._tolerating_store():
                    self.shared.fetch_checkpoints(key, folder)
        return folder

    def share_checkpoint(self, key: str) -> None:
        """Put the newest checkpoint of `key` to the shared store, for other machines to continue from."""
        if self.shared is not None:
            with self._tolerating_store():
                self.shared.put_checkpoints(key, self.root / CHECKPOINTS / check_name(key))

    def discard(self, damage: CacheDamagedError) -> None:
        """Report and drop a damaged result, so that it is computed again."""
        super().discard(damage)
        if self.shared is not None and damage.key in self._fetched:  # the copy there is damaged
            self.shared.remove(damage.key)
        self.remove(damage.key)

    def remove(self, key: str) -> None:
        """Remove a result, even while it is being read."""
        with writing(self.root):
            doomed = self.root / f".tmp-{uuid.uuid4().hex[:12]}.{check_name(key)}"
            try:
                (self.root / key).rename(doomed)
            except FileNotFoundError:
                return
            shutil.rmtree(doomed, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove the temporary folders of dead writers: those whose key is not locked."""
        for folder in self.root.glob(".tmp-*"):
            if (key := draft_key(folder.name)) is None:
                continue
            locks = [FileLock(self.root / LOCKS / name) for name in (key, folder.name)]
            if all(lock.acquire(wait=False) for lock in locks):
                shutil.rmtree(folder, ignore_errors=True)
            for lock in locks:
                lock.release()


def is_published(root: Path, key: str) -> bool:
    """Whether the folder of a cache holds a result of this key; nothing is checked, touched or made."""
    return (root / check_name(key) / MANIFEST).is_file()
