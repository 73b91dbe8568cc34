"""Log files that carry times and rotate: `python -m flows.logs FILE` copies its standard input to FILE.

A process of its own for each log: it outlives whoever started it, until the last writer has closed its end.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

MOST_BYTES = 10_000_000
KEPT = 4
"""Older files of one log: FILE.1 is the last one."""
_LONGEST = 1 << 16


@contextmanager
def rotating(path: Path) -> Iterator[IO[bytes]]:
    """What a process may have as its output, so that its lines reach a log; this process's end is closed."""
    command = [sys.executable, "-m", "flows.logs", str(path)]
    root = Path(__file__).resolve().parent.parent
    copier = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, start_new_session=True)
    assert copier.stdin is not None
    with copier.stdin as stream:
        yield stream


def copy(stream: IO[bytes], path: Path, most: int = MOST_BYTES, kept: int = KEPT) -> None:
    """Write each line of the stream with the time at which it came, until the stream ends.

    A disk that is full loses lines, and nothing else.
    """
    logging.raiseExceptions = False
    handler = RotatingFileHandler(path, maxBytes=most, backupCount=kept, encoding="utf-8", errors="replace")
    handler.setFormatter(logging.Formatter("%(asctime)s | %(message)s", "%Y-%m-%d %H:%M:%S"))
    try:
        while line := stream.readline(_LONGEST):
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                handler.handle(logging.makeLogRecord({"msg": text}))
    finally:
        handler.close()


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # its writers end first
        signal.signal(ending, signal.SIG_IGN)
    copy(sys.stdin.buffer, Path(sys.argv[1]))
