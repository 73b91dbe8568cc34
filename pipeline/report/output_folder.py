"""Publish results to the output folder: all together, or not at all."""

from __future__ import annotations

import contextlib
import errno
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError
from storage import file_hash


class OutputFolder:
    """The --out folder. Files are made in a hidden folder inside it and appear all together at the end.

    Leaving the `with` block without publish() leaves no trace of it. Raises OutputError.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._made: list[Path] = []
        self.draft = out / f".draft-{uuid.uuid4().hex[:12]}"
        try:
            with output_errors(out):
                self._make(out)
                self.draft.mkdir()
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
        removed, but not where somebody has changed them since.
        """
        with output_errors(self.out):
            names = sorted(p.name for p in self.draft.iterdir())
            for name in [n for n in names if n not in last] + [n for n in last if n in names]:
                (self.draft / name).replace(self.out / name)
            for name, digest in (replaces or {}).items():
                old = self.out / Path(name).name
                if old.name not in names and old.is_file() and file_hash(old) == digest:
                    old.unlink()
            self.draft.rmdir()
        self._made.clear()

    def close(self) -> None:
        """Remove the draft, and the folders that were made for it if they are empty."""
        shutil.rmtree(self.draft, ignore_errors=True)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._made.clear()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


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
