"""Locks across processes that the kernel frees with a dead process, so that no pid has to be guessed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """An exclusive flock(2) on a small file, which is removed on release: one writer a key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock; with `wait=False` return False at once where another holds it."""
        self._fd = _flocked(self._path, os.O_CREAT | os.O_RDWR, fcntl.LOCK_EX, wait)
        return self._fd is not None

    @property
    def descriptor(self) -> int:
        """The file that is locked, to be handed to a child: the lock lasts as long as any of them has it."""
        if self._fd is None:
            raise ValueError("the lock is not held")
        return self._fd

    def release(self) -> None:
        """Give the lock back; does nothing where it is not held."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


class Hold:
    """A flock(2) on a result's manifest: shared by its readers, or exclusive by who removes it.

    It lasts as long as this object, or until close().
    """

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @classmethod
    def take(cls, path: Path, *, alone: bool = False) -> Hold | None:
        """A shared hold, for which it waits; or, `alone`, an exclusive one, or None where it is held.

        Raises FileNotFoundError, and what else the system has against opening the file.
        """
        fd = _flocked(path, os.O_RDONLY, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, not alone)
        return None if fd is None else cls(fd)

    def read(self) -> bytes:
        """The bytes of the file held, whatever has become of its name."""
        if self._fd is None:
            raise ValueError("the hold was given up")
        size = os.fstat(self._fd).st_size
        return os.pread(self._fd, size, 0)

    def close(self) -> None:
        """Give it up; does nothing the second time."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        self.close()


def _flocked(path: Path, flags: int, kind: int, wait: bool) -> int | None:
    """A descriptor of the file at `path`, locked; None where another has it and `wait` is False."""
    while True:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        # While we waited its holder may have removed the file, and another one may stand in its place.
        try:
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)
