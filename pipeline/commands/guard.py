"""Errors of commands: each becomes one line on standard error and an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from types import FrameType

from pipeline.errors import InvidError
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
    with contextlib.suppress(ValueError):  # only the main thread may; elsewhere the caller decides
        handle(ENDINGS, _terminated)
    try:
        return run()
    except HelpShown:
        return 0
    except InvidError as error:
        return fail(error, error.exit_code)
    except KeyboardInterrupt:
        return fail("interrupted; give the same command again to go on", INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has gone; standard output must not be flushed into it once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if _is_full(error):
            return fail(
                f"the disk is full ({error}); free some space, or name other --out and --cache folders", 2
            )
        if _is_users(error):
            return fail(error, 2)
        return _unexpected(error, debug)


def fail(error: Exception | str, code: int) -> int:
    """Print an error in one line and return the exit code."""
    print("invid: " + " ".join(str(error).split()), file=sys.stderr)
    return code


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
