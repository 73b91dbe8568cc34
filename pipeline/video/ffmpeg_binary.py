"""Run the FFmpeg binary that imageio-ffmpeg ships, as a process of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import imageio_ffmpeg

from pipeline.errors import OutputError

_MOST_ERROR_BYTES = 1 << 16
GLOBAL_WORDS = ("-nostdin", "-hide_banner", "-loglevel", "error", "-y")
_TRIES = 3
_STALL = 8.0
"""Seconds without any work after which FFmpeg has stopped."""
_LOOK = 0.5
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@dataclass(frozen=True)
class Ran:
    """How a run ended: its exit code, and the first 64 KiB of what it printed of errors."""

    code: int
    errors: str

    @property
    def reason(self) -> str:
        """The first error in one line, without FFmpeg's `[place @ address]` marks."""
        lines = [line.rpartition("] ")[2].strip() for line in self.errors.splitlines() if line.strip()]
        return lines[0] if lines else f"exit code {self.code}"

    def raise_if_not_written(self) -> None:
        """Raise OSError where the file system refused what was written."""
        for number in _FULL if self.code else ():
            if os.strerror(number) in self.errors:
                raise OSError(number, os.strerror(number))


def run_ffmpeg(arguments: Sequence[str]) -> Ran:
    """Run FFmpeg with these arguments and wait. Raises OutputError where the binary cannot be started.

    About one run in a hundred that ends before its inputs do stops for ever, in FFmpeg 9: its threads wait
    for each other. Such a run is ended and begun anew.
    """
    try:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *GLOBAL_WORDS, *arguments]
        runs = (run_watched(command) for _ in range(_TRIES))
        return next((ran for ran in runs if ran is not None), Ran(1, f"it stopped {_TRIES} times"))
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"the FFmpeg binary cannot be run ({error}); install imageio-ffmpeg again"
        ) from None


def run_watched(command: Sequence[str], stall: float = _STALL) -> Ran | None:
    """Run a command; None where it was ended, since none of its threads did anything for `stall` seconds."""
    with tempfile.TemporaryFile() as errors:
        # restore_signals would end FFmpeg by a signal at a file size limit, instead of with an error.
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            restore_signals=False,
        ) as process:
            try:
                if not _ends(process, stall):
                    return None
            finally:
                process.kill()  # does nothing where it has ended
        return Ran(process.returncode, errors_in(errors))


def errors_in(file: IO[bytes]) -> str:
    """The first 64 KiB of what a run wrote to a file of its errors."""
    file.seek(0)
    return file.read(_MOST_ERROR_BYTES).decode("utf-8", "replace")


def _ends(process: subprocess.Popen[bytes], stall: float) -> bool:
    """Wait until a process ends; False where it has stopped."""
    used, since = None, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)
            return True
        seen = _processor_time(process.pid)
        if seen is None or seen != used:
            used, since = seen, time.monotonic()
        elif time.monotonic() - since > stall:
            return False


def _processor_time(process: int) -> int | None:
    """What a process has used; None where a thread of it works or waits for a disk, and without /proc."""
    total = 0
    try:
        for thread in Path(f"/proc/{process}/task").iterdir():
            values = (thread / "stat").read_text().rpartition(")")[2].split()
            if values[0] in "RD":
                return None
            total += int(values[11]) + int(values[12])
    except (OSError, IndexError):
        return None
    return total
