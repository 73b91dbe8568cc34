"""Publish results to the output folder: all together, or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError, UserError
from storage import file_hash

_FRESH = 1.0
"""Seconds in which a draft that nobody holds may be one that its process is about to hold."""


class OutputFolder:
    """The --out folder. Files are made in a hidden folder inside it and appear all together at the end.

    Leaving the `with` block without publish() leaves no trace of it. What a killed process left is removed
    by the next publish(). Raises OutputError.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._made: list[Path] = []
        self._held: int | None = None
        self.draft = out / f".draft-{uuid.uuid4().hex[:12]}"
        try:
            with output_errors(out):
                self._make(out)
                self.draft.mkdir()
                self._held = _locked(self.draft)
        except BaseException:
            self.close()
            raise

    def _make(self, folder: Path) -> None:
        """Make the folder and its parents, remembering which are new."""
        if not folder.is_dir():
            self._make(folder.parent)
            self._made.append(folder)
            folder.mkdir()

    def copy(self, source: Path, name: str) -> None:
        """Put a copy of a file into the draft."""
        with output_errors(self.out):
            shutil.copyfile(source, self.draft / name)

    def publish(self, last: Sequence[str] = (), replaces: Mapping[str, str] | None = None) -> None:
        """Give every file of the draft its place; those named in `last` come after all others.

        replaces: names and hashes of an earlier job's files. Those that this job has no new version of are
        removed, but not where somebody has changed them since. A file with another name is nobody's to take
        the place of. Raises UserError.
        """
        with output_errors(self.out):
            names = sorted(p.name for p in self.draft.iterdir())
            check_own(self.out, names, replaces or {})
            for name in [n for n in names if n not in last] + [n for n in last if n in names]:
                (self.draft / name).replace(self.out / name)
            for name, digest in (replaces or {}).items():
                old = self.out / Path(name).name
                if old.name not in names and old.is_file() and file_hash(old) == digest:
                    old.unlink()
            self.draft.rmdir()
            for dead in dead_drafts(self.out):
                shutil.rmtree(dead, ignore_errors=True)
        self._made.clear()

    def close(self) -> None:
        """Remove the draft, and the folders that were made for it if they are empty."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
        shutil.rmtree(self.draft, ignore_errors=True)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._made.clear()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def _locked(folder: Path) -> int | None:
    """A descriptor that holds a folder until it is closed or its process ends; None where it is held."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def dead_drafts(out: Path) -> list[Path]:
    """Drafts in a folder whose processes were killed."""
    found = []
    for draft in out.glob(".draft-" + "[0-9a-f]" * 12):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > _FRESH and (held := _locked(draft)) is not None:
                os.close(held)
                found.append(draft)
    return found


def check_own(out: Path, names: Iterable[str], own: Mapping[str, str]) -> None:
    """Raise UserError where a file with one of these names is in `out` and not among our own."""
    for name in names:
        if name not in own and os.path.lexists(out / name):
            raise UserError(f"{out / name} was not written by Invid and stays; choose another --out folder")


def check_writable(out: Path) -> None:
    """Raise OutputError where results cannot be written to `out`. Leaves no trace, also when interrupted."""
    with OutputFolder(out):
        pass


@contextlib.contextmanager
def output_errors(out: Path) -> Iterator[None]:
    """Turn what the operating system says against writing to `out` into OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                f"{out}: the disk is full; free some space or choose another --out folder"
            ) from error
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}); choose another --out folder"
        ) from error
