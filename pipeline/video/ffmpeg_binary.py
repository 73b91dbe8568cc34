"""Run the FFmpeg binary that imageio-ffmpeg ships, as a process of its own."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import imageio_ffmpeg

from pipeline.errors import OutputError

_MOST_ERROR_BYTES = 1 << 16
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
    """Run FFmpeg with these arguments and wait. Raises OutputError where the binary cannot be started."""
    with tempfile.TemporaryFile() as errors:
        try:
            command = [
                imageio_ffmpeg.get_ffmpeg_exe(),
                "-nostdin",
                "-hide_banner",
                "-loglevel",
                "error",
                "-y",
            ]
            # restore_signals would end FFmpeg by a signal at a file size limit, instead of with an error.
            done = subprocess.run(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                check=False,
                restore_signals=False,
            )
        except (OSError, RuntimeError) as error:
            raise OutputError(
                f"the FFmpeg binary cannot be run ({error}); install imageio-ffmpeg again"
            ) from None
        errors.seek(0)
        return Ran(done.returncode, errors.read(_MOST_ERROR_BYTES).decode("utf-8", "replace"))
