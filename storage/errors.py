"""Errors of the storage package. A message is one line: what was seen and what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST_SAID = 200
"""Characters of what is wrong; a library's message can quote a whole header."""
_PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/]+@")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageError(Exception):
    """Base of all errors that `storage` raises; a password in a URL is not repeated."""

    def __init__(self, message: str) -> None:
        super().__init__(without_passwords(message))


class CacheWriteError(StorageError):
    """The cache folder cannot be written, or its disk is full."""


class CacheDamagedError(StorageError):
    """A published result is damaged; `key` identifies it, `what` describes the damage."""

    def __init__(self, key: str, what: str) -> None:
        what = " ".join(without_passwords(what)[:_MOST_SAID].split())
        super().__init__(f"cached result {key} is damaged ({what}); it will be computed again")
        self.key = key
        self.what = what


def without_passwords(text: str) -> str:
    """Text with *** for the password of each URL in it: `sftp://user:***@host/folder`."""
    return _PASSWORD.sub(r"\1:***@", text)


def is_full(error: OSError) -> bool:
    """True for: no space, quota exceeded, file size limit reached."""
    return error.errno in _FULL


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Context that turns OSError into CacheWriteError for the folder `root`."""
    try:
        yield
    except OSError as error:
        reason, hint = (error.strerror or str(error)), "choose a folder you can write to"
        if is_full(error):
            reason, hint = "the disk is full", "free some space or choose another folder"
        raise CacheWriteError(f"cannot write to the cache folder {root}: {reason}; {hint}") from error
