"""Encode a film by FFmpeg's own program, which reads the frames from a pipe.

The libvpx in PyAV's wheels has no more than 8 bits; that of the program has 12.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Mapping

import imageio_ffmpeg

from pipeline.errors import OutputError
from pipeline.video.ffmpeg_binary import GLOBAL_WORDS, Ran, errors_in
from pipeline.video.output_file import OutputFile

FORMAT, CODEC = "matroska", "ffv1"
"""Container and codec of what goes through the pipe: lossless, and with the duration of each frame."""


class PipedEncoder:
    """A running FFmpeg that encodes the film written to it into `sink`; a file object for PyAV."""

    def __init__(
        self,
        sink: OutputFile,
        encoder: str,
        options: Mapping[str, str],
        tags: str,
        comment: str,
        format_name: str,
    ) -> None:
        """Start the program. tags: filters that set the colour tags and the shape of pixels.

        Raises OutputError where the program cannot be started.
        """
        self._sink = sink
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by `discard`
        # The frames' own times; without this FFmpeg repeats and drops frames to hold a rate.
        times = ("-fps_mode", "passthrough", "-enc_time_base", "demux")
        settings = [word for key, value in options.items() for word in (f"-{key}:v", value)]
        source = ("-copyts", "-f", FORMAT, "-i", "pipe:0", "-vf", tags)
        muxer = (
            "-metadata",
            f"comment={comment}",
            "-avoid_negative_ts",
            "disabled",
            "-f",
            format_name,
            str(sink.partial.absolute()),
        )
        words = [*GLOBAL_WORDS, *source, *times, "-c:v", encoder, *settings, *muxer]
        try:
            # A session of its own: Ctrl-C ends it by `discard`.
            self._process = subprocess.Popen(
                [imageio_ffmpeg.get_ffmpeg_exe(), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                restore_signals=False,
                start_new_session=True,
            )
        except (OSError, RuntimeError) as error:
            self._errors.close()
            raise OutputError(
                f"the FFmpeg binary cannot be run ({error}); install imageio-ffmpeg again"
            ) from None

    def write(self, data: bytes) -> int:
        """Pass bytes on. Raises OSError with FFmpeg's reason where it has ended."""
        assert self._process.stdin is not None
        try:
            return self._process.stdin.write(data)
        except BrokenPipeError:
            self._process.wait()
            raise self._reason() from None
        except BaseException as error:
            self._sink.error = self._sink.error or error
            raise OSError(str(error)) from None  # FFmpeg's callback passes only an Exception

    def finish(self) -> None:
        """Wait until all frames are encoded. Raises OSError where they are not."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait():
            raise self._reason()

    def discard(self) -> None:
        """End the program if it still runs."""
        self._process.kill()  # does nothing where it has ended
        with contextlib.suppress(OSError):
            self._process.communicate()
        self._errors.close()

    def _reason(self) -> OSError:
        """Why the program has ended; kept in the sink, since FFmpeg keeps only a number of an exception."""
        ran = Ran(self._process.returncode, errors_in(self._errors))
        found: OSError = OSError(ran.reason)
        try:
            ran.raise_if_not_written()
        except OSError as error:
            found = error
        self._sink.error = self._sink.error or found
        return found
