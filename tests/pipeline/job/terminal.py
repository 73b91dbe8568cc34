"""A pseudo terminal, and what stands on its screen after the control sequences that a progress bar uses."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap

_SEQUENCE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")
_PROGRAM = """
import time
from pipeline.job.progress import TextProgress
with TextProgress() as shown:
{body}
"""


def screen(written: str) -> list[str]:
    """The lines on a terminal without an end, blanks at their ends and empty last lines left out.

    Raises ValueError for a control sequence that is not known here.
    """
    lines, row, column = [""], 0, 0
    position = 0
    while position < len(written):
        found = _SEQUENCE.match(written, position)
        if found is not None:
            position = found.end()
            row, column = _moved(lines, row, column, found[1], found[2])
            continue
        letter = written[position]
        position += 1
        if letter == "\r":
            column = 0
        elif letter == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        else:
            text = lines[row].ljust(column)
            lines[row] = text[:column] + letter + text[column + 1 :]
            column += 1
    lines = [line.rstrip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _moved(lines: list[str], row: int, column: int, argument: str, kind: str) -> tuple[int, int]:
    """Carry out one control sequence; returns where the cursor is then."""
    if kind == "A":
        return max(0, row - int(argument or 1)), column
    if kind == "K":
        lines[row] = "" if argument == "2" else lines[row][:column]
    elif kind != "m":
        raise ValueError(f"control sequence {argument}{kind}")
    return row, column


def on_a_terminal(
    body: str, columns: int = 100, term: str = "xterm-256color"
) -> tuple[list[list[str]], list[str]]:
    """Run lines of Python with a `TextProgress` named `shown` on a pseudo terminal.

    Returns the screen after everything that was written at once, and the screen at the end.
    """
    program = _PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")} | {"TERM": term}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    written, seen = b"", []
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not read:
            break
        written += read
        seen.append(screen(written.decode(errors="ignore")))
    os.close(ours)
    assert process.wait(timeout=60) == 0, written.decode(errors="replace")
    return seen, screen(written.decode())
