"""The file behind a video writer: temporary until it is renamed, with errors that name their cause."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar

import av

from pipeline.errors import OutputError

T = TypeVar("T")


class OutputFile:
    """Temporary file behind a writer. Keeps the first exception, of which FFmpeg keeps only a number."""

    def __init__(self, path: Path) -> None:
        """Create the temporary file beside `path`; raises OutputError."""
        self.error: BaseException | None = None
        self._path = path
        self._partial = _draft_of(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder", str(path))
            self._file = self._partial.open("xb")
        except OSError as error:
            raise _output_error(path, error) from None

    @property
    def partial(self) -> Path:
        """The temporary file."""
        return self._partial

    @property
    def closed(self) -> bool:
        """True when the file was closed."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Append bytes; raises OSError for whatever stops the write."""
        try:
            return self._file.write(data)
        except BaseException as error:
            self.error = self.error or error
            raise OSError(str(error)) from None  # FFmpeg's callback passes only an Exception

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as `io.IOBase.seek`; -1, FFmpeg's sign of failure, where the disk is full."""
        try:
            return self._file.seek(offset, whence)  # flushes the buffer
        except OSError as error:
            self.error = self.error or error
            return -1  # PyAV would print an exception

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._file.tell()

    def reopen(self, url: str, flags: int, options: dict[str, str]) -> BinaryIO:
        """Open a second handle for reading: faststart reads the file to move the index to the front."""
        self._file.flush()
        return self._partial.open("rb")

    def remade(self, make: Callable[[Path, Path], T]) -> T:
        """Close the file and put in its place the one that `make(file, new file)` writes; returns its value.

        Where `make` raises, the file stays as it was.
        """
        self._close()
        new = _draft_of(self._path)
        try:
            made = make(self._partial, new)
            new.replace(self._partial)
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
        return made

    def publish(self) -> None:
        """Flush, close and rename into place."""
        self._close()
        self._partial.replace(self._path)

    def _close(self) -> None:
        if not self._file.closed:
            self._file.flush()
        if self.error is not None:
            raise self.error
        self._file.close()

    def discard(self) -> None:
        """Remove the temporary file if it still exists."""
        with contextlib.suppress(OSError, ValueError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)


class ffmpeg_errors(contextlib.AbstractContextManager[None]):
    """Context that turns exceptions of FFmpeg and the file system into one OutputError with the cause."""

    def __init__(self, path: Path, sink: OutputFile) -> None:
        self._path = path
        self._sink = sink

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, (av.FFmpegError, OSError)):
            return
        cause = self._sink.error or error
        if not isinstance(cause, Exception):
            raise cause  # Ctrl-C that arrived inside FFmpeg's write call
        raise _output_error(self._path, cause) from None


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")


def _output_error(path: Path, error: BaseException) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if not isinstance(error, OSError):
        return OutputError(f"{path}: cannot be encoded ({reason}); choose another codec or file ending")
    return OutputError(
        f"{path}: cannot be written ({reason}); free some space or choose another output folder"
    )
