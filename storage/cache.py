"""The stage cache: find a result, begin one, keep checkpoints; what is damaged is found and dropped."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from storage.errors import CacheDamagedError, writing
from storage.layout import MANIFEST, check_name
from storage.locks import FileLock
from storage.result import StageResult
from storage.writer import StageWriter


class StageCache:
    """Results below one folder, by key. Readers see published ones only; one process at a time computes one.

    `on_damage` is told, in one line, of every damaged result that is dropped.
    """

    def __init__(self, root: Path, on_damage: Callable[[str], None] | None = None) -> None:
        self.root = root
        self._on_damage = on_damage or (lambda message: None)
        with writing(root):
            (root / ".locks").mkdir(parents=True, exist_ok=True)
            (root / "checkpoints").mkdir(exist_ok=True)
            probe = root / f".probe-{uuid.uuid4().hex[:12]}"
            probe.touch()
            probe.unlink()
            self._sweep()

    def get(self, key: str) -> StageResult | None:
        """The published result of `key`, or None; a damaged one is reported, dropped and None."""
        folder = self.root / check_name(key)
        try:
            text = (folder / MANIFEST).read_text()
        except FileNotFoundError:
            if folder.is_dir():
                self.discard(CacheDamagedError(key, "its manifest is missing"))
            return None
        except (OSError, UnicodeDecodeError) as error:
            self.discard(CacheDamagedError(key, f"its manifest cannot be read: {error}"))
            return None
        try:
            try:
                manifest = json.loads(text)
            except ValueError as error:
                raise CacheDamagedError(key, "its manifest is not JSON") from error
            if not isinstance(manifest, dict):
                raise CacheDamagedError(key, "its manifest is not an object")
            result = StageResult(folder, key, manifest)
            result.check()
        except CacheDamagedError as error:
            self.discard(error)
            return None
        return result

    def begin(self, key: str, on_wait: Callable[[], None] | None = None) -> StageWriter:
        """A writer for `key`, to be used in a `with` block.

        Waits while another process computes the same key (`on_wait` is called once before), so look with
        get() again afterwards. Raises CacheWriteError.
        """
        with writing(self.root):
            lock = FileLock(self.root / ".locks" / check_name(key))
            if not lock.acquire(wait=False):
                if on_wait is not None:
                    on_wait()
                lock.acquire(wait=True)
            try:
                return StageWriter(self.root, key, lock.release)
            except BaseException:
                lock.release()
                raise

    def checkpoint_dir(self, key: str) -> Path:
        """A folder for the checkpoints of `key`, kept until its result is published; for use in begin()."""
        folder = self.root / "checkpoints" / check_name(key)
        with writing(self.root):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def discard(self, damage: CacheDamagedError) -> None:
        """Report and drop a damaged result, so that it is computed again."""
        self._on_damage(str(damage))
        with writing(self.root):
            doomed = self.root / f".tmp-{uuid.uuid4().hex[:12]}.{damage.key}"
            try:
                (self.root / damage.key).rename(doomed)
            except FileNotFoundError:
                return
            shutil.rmtree(doomed, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed writers left: a temporary folder whose key nobody holds."""
        for folder in self.root.glob(".tmp-*"):
            key = folder.name.partition(".tmp-")[2].partition(".")[2]
            lock = FileLock(self.root / ".locks" / key)
            if key and lock.acquire(wait=False):
                try:
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    lock.release()
