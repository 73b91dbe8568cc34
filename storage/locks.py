"""Locks between processes by flock(2); the kernel releases them when the last holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from storage.files import open_regular


class FileLock:
    """Exclusive lock on a file that is created for it and removed on release."""

    def __init__(self, path: Path) -> None:
        """Name the lock file; its folder must exist."""
        self._path = path
        self._fd: int | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock; without `wait`, return False at once where another process holds it."""
        operation = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            self._fd = _flocked(self._path, os.O_CREAT | os.O_RDWR, operation)
        except BlockingIOError:
            self._fd = None
        return self._fd is not None

    @property
    def descriptor(self) -> int:
        """Descriptor of the lock file, for a child process: the lock lasts until all copies are closed."""
        if self._fd is None:
            raise ValueError("the lock is not held")
        return self._fd

    def release(self) -> None:
        """Release the lock; does nothing where it is not held."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


class Hold:
    """Lock on an existing file: shared by its readers, exclusive for a process that removes it.

    Lasts as long as this object, or until close().
    """

    def __init__(self, fd: int) -> None:
        """Own the locked descriptor `fd`."""
        self._fd: int | None = fd

    @classmethod
    def shared(cls, path: Path) -> Hold:
        """Wait for a shared lock. Raises OSError where the file cannot be opened."""
        return cls(_flocked(path, os.O_RDONLY, fcntl.LOCK_SH))

    @classmethod
    def exclusive(cls, path: Path) -> Hold | None:
        """Take an exclusive lock; None where another holds the file. Raises OSError as `shared`."""
        try:
            return cls(_flocked(path, os.O_RDONLY, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            return None

    def read(self, most: int) -> bytes:
        """Bytes of the locked file, even where its name is gone. Raises OSError for more than `most`."""
        if self._fd is None:
            raise ValueError("the hold was given up")
        if (size := os.fstat(self._fd).st_size) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes")
        return os.pread(self._fd, size, 0)

    def close(self) -> None:
        """Release the lock; does nothing the second time."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        self.close()


def _flocked(path: Path, flags: int, operation: int) -> int:
    """Open the file at `path` and lock it. Raises BlockingIOError for LOCK_NB on a file that is held."""
    while True:
        fd = open_regular(path, flags)
        try:
            fcntl.flock(fd, operation)
        except BaseException:
            os.close(fd)
            raise
        # While we waited, the file may have been removed and another one created under its name.
        try:
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)
