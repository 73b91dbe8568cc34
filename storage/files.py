"""Read regular files; write a file to a temporary path beside it and rename it into place."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Descriptor of a regular file. Raises OSError for anything else; a pipe is not waited for."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return fd


def read_bounded(path: Path, most: int) -> bytes:
    """Bytes of a regular file. Raises OSError where it is none, or has more than `most` bytes."""
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    return data


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden temporary path beside `path`, which replaces `path` when the block succeeds.

    Its folder must exist. A reader of `path` sees the old file or the new one; after an exception nothing is
    left of the new one.

        with replacing(path) as side:
            side.write_text(text)
    """
    side = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield side
        side.replace(path)
    finally:
        side.unlink(missing_ok=True)
