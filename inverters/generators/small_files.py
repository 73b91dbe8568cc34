"""Regular files of bounded size, and JSON in them: what is too large or too deep is refused at once.

Files are written whole or not at all.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

MOST_JSON = 1 << 26
"""Bytes of a JSON file that are read."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file. Raises OSError for anything else; a pipe is not waited for."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return file


def write_whole(path: Path, data: bytes) -> None:
    """Write a file to the side and rename it, so that nobody sees half of it. Raises OSError."""
    side = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        side.write_bytes(data)
        side.replace(path)
    finally:
        side.unlink(missing_ok=True)


def read_json(path: Path, most: int = MOST_JSON) -> Any:
    """The value in a JSON file in UTF-8. Raises OSError, and ValueError for what is no JSON or too large."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    return parse_json(data)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, also for lists within lists without end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it has too many lists or tables within each other") from None
