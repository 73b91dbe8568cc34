"""Errors of commands: each becomes one line on standard error and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

from pipeline.errors import InvidError, printable
from pipeline.job.progress import discard
from pipeline.request.command_line import HelpShown

INTERRUPTED = 130
"""Exit code after Ctrl-C, SIGTERM or SIGHUP."""
ENDINGS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command as Ctrl-C does, so that drafts are removed."""
Handler = Callable[[int, FrameType | None], None]


def guarded(run: Callable[[], int], debug: bool = False) -> int:
    """Run a command and return its exit code.

    debug: the traceback of an unexpected error is written to a file, which the line names.
    """
    _open_streams()
    with contextlib.suppress(ValueError):  # only the main thread may; elsewhere the caller decides
        handle(ENDINGS, _terminated)
    before, sys.stdout = sys.stdout, cast(TextIO, _Output(sys.stdout))
    try:
        return _ran(run)
    except InvidError as error:
        return fail(error, error.exit_code)
    except KeyboardInterrupt:
        return fail("interrupted; give the same command again to go on", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has gone
        discard(before)
        return 1
    except _OutputError as error:
        discard(before)
        return fail(f"standard output cannot be written ({error.strerror or error})", 1)
    except Exception as error:
        if _is_full(error):
            return fail(
                f"the disk is full ({error}); free some space, or name other --out and --cache folders", 2
            )
        if _is_users(error):
            return fail(error, 2)
        return _unexpected(error, debug)
    finally:
        sys.stdout = before


def _ran(run: Callable[[], int]) -> int:
    """The command's exit code, once all of its output is written."""
    code = 0
    with contextlib.suppress(HelpShown):
        code = run()
    sys.stdout.flush()
    return code


class _OutputError(OSError):
    """Standard output is full, or has gone."""


class _Output:
    """Standard output, whose own errors can be told from those of other files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As of a stream."""
        with _as_output():
            return self._stream.write(text)

    def flush(self) -> None:
        """As of a stream."""
        with _as_output():
            self._stream.flush()


@contextlib.contextmanager
def _as_output() -> Iterator[None]:
    try:
        yield
    except (BrokenPipeError, _OutputError):
        raise
    except OSError as error:
        raise _OutputError(error.errno, error.strerror) from error


def fail(error: Exception | str, code: int) -> int:
    """Print an error in one line and return the exit code."""
    try:
        say("invid: " + " ".join(str(error).split()), sys.stderr)
    except (OSError, ValueError):  # nobody can be told
        discard(sys.stderr)
    return code


def say(text: str, stream: TextIO | None = None) -> None:
    """Print text with the names of files in it: no control character of theirs reaches the terminal."""
    print(printable(text), file=stream, flush=True)


def _open_streams() -> None:
    """Standard streams that were closed lead nowhere; characters that one lacks are written as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_users(error: Exception) -> bool:
    """Errors of `storage` and `inverters`, which know nothing of exit codes."""
    from storage import StorageError

    errors = sys.modules.get("inverters.errors")
    return isinstance(error, StorageError) or (errors is not None and isinstance(error, errors.InverterError))


def _is_full(error: Exception) -> bool:
    """A full disk that no layer below has named, such as one met by a checkpoint of an inversion."""
    from storage.errors import is_full

    if isinstance(error, OSError):
        return is_full(error)
    # safetensors passes the system's answer on as text only; 28 is ENOSPC, 27 EFBIG
    return type(error).__name__ == "SafetensorError" and any(
        f"(os error {n})" in str(error) for n in (27, 28)
    )


def _unexpected(error: Exception, debug: bool) -> int:
    what = f"unexpected {type(error).__name__}: {error}"
    if not debug:
        return fail(f"{what}; please report it, with the file that --debug writes", 1)
    with tempfile.NamedTemporaryFile("w", prefix="invid-", suffix=".log", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return fail(f"{what}; the traceback is in {file.name}", 1)


def handle(numbers: Iterable[int], handler: Handler) -> None:
    """Set the handler of signals; SIGHUP stays ignored under nohup. Raises ValueError in another thread."""
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _terminated(number: int, frame: FrameType | None) -> None:
    """Turn a signal into what Ctrl-C raises."""
    raise KeyboardInterrupt
