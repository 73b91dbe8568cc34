"""Errors a user can meet. Each message says what happened, what was seen, and what to do, in one line."""

from __future__ import annotations

from unicodedata import category

_MOST_SHOWN = 80
"""Characters of a value that are repeated in an error message."""


class InvidError(Exception):
    """Anything that stops a job with one clear line on standard error; `exit_code` is the process's."""

    exit_code = 1


class UserError(InvidError):
    """Something in the request or the input is wrong; the user can mend it."""

    exit_code = 2


class InputVideoError(UserError):
    """The input cannot be read as a video with frames."""


class NoFaceError(UserError):
    """No face was found in any frame."""


class OutputError(UserError):
    """The output or cache folder cannot be written, or the disk is full."""


class OutOfMemoryError(InvidError):
    """Memory does not suffice, however small the batches; the message says how much was needed."""


class UnknownNameError(UserError):
    """A method, generator, preset, edit or codec that does not exist; the message lists those that do."""


class UndeclaredReadError(InvidError):
    """A stage reads a setting or a result that it does not declare; a fault of the stage, not of the user."""


def printable(text: str) -> str:
    """Text with ? for control characters, which a terminal would obey, and for what cannot be encoded."""
    return "".join(c if c.isprintable() or c in "\n\t" or category(c) == "Zs" else "?" for c in text)


def shortened(value: object) -> str:
    """A value as it is repeated in an error message: one line of bounded length."""
    text = printable(" ".join(str(value)[: 4 * _MOST_SHOWN].split()))
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
