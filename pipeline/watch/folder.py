"""Find the files below a folder that are complete clips."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputVideoError
from pipeline.video.container import open_video, video_stream
from pipeline.video.truncation import missing_bytes
from storage import file_hash

SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mxf", ".gif"}
_SETTLE = 1.0
"""Seconds for which a file is observed before it can count as quiet."""


@dataclass(frozen=True)
class Print:
    """Fingerprint of a file: changes when the file does."""

    inode: int
    size: int
    mtime_ns: int


@dataclass
class _Seen:
    print: Print
    since: float  # monotonic time at which this fingerprint was first seen
    renamed: bool = False  # was seen under another name before
    content: str = ""  # SHA-256, once the file is ready
    refused: str = ""  # reason


@dataclass(frozen=True)
class Ready:
    """A complete clip; its bytes were hashed and did not change meanwhile."""

    path: Path
    name: Path  # relative to the watched folder
    content: str  # SHA-256
    print: Print


class WatchedFolder:
    """State of the files below a folder over repeated scans.

    A clip is ready when it was not written for `quiet` seconds, or was renamed into its place; no process of
    this machine has it open for writing; and its headers say that it is complete. Hidden files and folders
    are skipped.
    """

    def __init__(
        self,
        root: Path,
        quiet: float,
        outside: Path | None = None,
        known: dict[str, tuple[Print, str]] | None = None,
    ) -> None:
        """Scan nothing yet.

        outside: a folder below `root` to skip. known: fingerprint and content by name, of an earlier run;
        unchanged files are not hashed again.
        """
        self.root, self.quiet = root, quiet
        self._outside = None if outside is None else outside.resolve()
        self._known = known or {}
        self._seen: dict[Path, _Seen] = {}
        self._inodes: dict[int, Path] = {}  # of all files seen, of any type

    def look(self) -> tuple[list[Ready], dict[Path, str]]:
        """Scan; returns the clips that are ready, and the newly refused ones with reasons."""
        found = sorted(self._files())
        written: set[tuple[int, int]] | None = None
        ready: list[Ready] = []
        refused: dict[Path, str] = {}
        for path in found:
            try:
                info = fingerprint(path)
                if path.suffix.lower() not in SUFFIXES:
                    self._inodes[info.inode] = path
                    continue
                seen = self._notice(path, info)
                if seen.refused:
                    continue
                if not seen.content and self._is_quiet(seen):
                    self._check_place(path)
                    written = open_for_writing() if written is None else written
                    if _identity(path) not in written:
                        check_whole(path)
                        content = file_hash(path)
                        seen.content = content if fingerprint(path) == info else ""
                if seen.content:
                    ready.append(Ready(path, path.relative_to(self.root), seen.content, info))
            except FileNotFoundError:  # gone, or a link to nothing
                self._seen.pop(path, None)
            except (InputVideoError, OSError) as error:
                if path.suffix.lower() not in SUFFIXES:
                    continue
                reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
                refused[path] = reason
                self._seen.setdefault(path, _Seen(Print(0, 0, 0), 0.0)).refused = reason
        for gone in self._seen.keys() - set(found):
            del self._seen[gone]
        return ready, refused

    def known(self) -> dict[str, tuple[Print, str]]:
        """Fingerprint and content by name, for a later WatchedFolder."""
        return {
            str(p.relative_to(self.root)): (s.print, s.content) for p, s in self._seen.items() if s.content
        }

    def forget(self, path: Path) -> None:
        """Treat a file as new at the next scan."""
        self._seen.pop(path, None)

    @property
    def settling(self) -> bool:
        """True where a file was seen that may become ready without another write."""
        return any(not seen.content and not seen.refused for seen in self._seen.values())

    def pause(self) -> float:
        """Seconds after which to scan again for files that were just seen."""
        return max(_SETTLE, min(5.0, self.quiet / 3))

    def _files(self) -> Iterator[Path]:
        """Yield the files to look at."""
        for folder, folders, names in os.walk(self.root):
            here = Path(folder)
            folders[:] = [
                n for n in sorted(folders) if not n.startswith(".") and (here / n).resolve() != self._outside
            ]
            yield from (here / name for name in names if not name.startswith("."))

    def _notice(self, path: Path, info: Print) -> _Seen:
        """State of a file; a new one where the file has changed."""
        seen = self._seen.get(path)
        if seen is None or seen.print != info:
            before = self._inodes.get(info.inode)
            seen = _Seen(
                info, time.monotonic(), before is not None and before != path and not before.exists()
            )
            earlier = self._known.get(str(path.relative_to(self.root)))
            if earlier is not None and earlier[0] == info:
                seen.content = earlier[1]
            self._seen[path] = seen
        self._inodes[info.inode] = path
        return seen

    def _is_quiet(self, seen: _Seen) -> bool:
        """True where a file was renamed into its place, or not written for `quiet` seconds."""
        watched = time.monotonic() - seen.since
        if watched < min(_SETTLE, self.quiet):
            return False
        # A file's time may lie ahead, or be another machine's; our own observation is reliable.
        age = time.time() - seen.print.mtime_ns / 1e9
        return seen.renamed or age >= self.quiet or watched >= self.quiet

    def _check_place(self, path: Path) -> None:
        """Raise InputVideoError for a link to outside of the folder."""
        if not path.resolve(strict=True).is_relative_to(self.root.resolve()):
            raise InputVideoError("it is a link to outside of the folder; copy the clip itself")


def check_whole(path: Path) -> None:
    """Raise InputVideoError unless a file is a complete video."""
    if missing_bytes(path) > 0:
        raise InputVideoError("it is cut off; copy it again")
    with open_video(path) as container:
        video_stream(container, path)


def fingerprint(path: Path) -> Print:
    """Fingerprint of a file. Raises FileNotFoundError, and InputVideoError for what is no regular file."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise InputVideoError(f"{path.name}: is not a regular file")
    return Print(info.st_ino, info.st_size, info.st_mtime_ns)


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode."""
    info = path.stat()
    return info.st_dev, info.st_ino


def open_for_writing() -> set[tuple[int, int]]:
    """Device and inode of the regular files that processes of this machine have open for writing.

    By /proc; the processes of other users are not visible without their rights.
    """
    found = set()
    for folder in Path("/proc").glob("[0-9]*/fdinfo"):
        with contextlib.suppress(OSError):  # another user's process, or an ended one
            for entry in folder.iterdir():
                with contextlib.suppress(OSError, ValueError):
                    flags = next(x for x in entry.read_text().splitlines() if x.startswith("flags:"))
                    if int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                        info = (folder.parent / "fd" / entry.name).stat()
                        if stat.S_ISREG(info.st_mode):
                            found.add((info.st_dev, info.st_ino))
    return found
