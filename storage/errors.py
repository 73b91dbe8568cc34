"""Errors of the storage package. Messages say what was seen and what to do, in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageError(Exception):
    """Base of every error raised on purpose in `storage`."""


class CacheWriteError(StorageError):
    """The cache folder cannot be written, or its disk is full."""


class CacheDamagedError(StorageError):
    """A published result is damaged; `key` names it, so that it can be discarded and computed again."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(f"cached result {key} is damaged ({what}); it will be computed again")
        self.key = key
        self.what = what


def is_full(error: OSError) -> bool:
    """True where the operating system said: no space, quota used up, or file size limit reached."""
    return error.errno in _FULL


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `root` into CacheWriteError."""
    try:
        yield
    except OSError as error:
        reason, hint = (error.strerror or str(error)), "choose a folder you can write to"
        if is_full(error):
            reason, hint = "the disk is full", "free some space or choose another folder"
        raise CacheWriteError(f"cannot write to the cache folder {root}: {reason}; {hint}") from error
