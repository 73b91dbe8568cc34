"""Which files of a folder are whole clips, ready to be taken."""

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
"""Seconds that a file is looked at before it is believed that nobody writes to it."""


@dataclass(frozen=True)
class Print:
    """What changes when a file does."""

    inode: int
    size: int
    mtime_ns: int


@dataclass
class _Seen:
    print: Print
    since: float  # by the monotonic clock: unchanged so long
    renamed: bool = False  # known under another name before
    content: str = ""  # SHA-256, once it was found ready
    refused: str = ""  # why it will not be taken


@dataclass(frozen=True)
class Ready:
    """A whole clip: its bytes were hashed, and did not change meanwhile."""

    path: Path
    name: Path  # relative to the folder that is watched
    content: str  # SHA-256
    print: Print


class WatchedFolder:
    """Files below `root`, looked at again and again.

    A clip is ready when it has not been written for `quiet` seconds, or was renamed into its place, when
    nobody on this machine has it open for writing, and when its own headers say that it is all there.
    Hidden files and folders are left out, and `outside`, where it lies below `root`.

    known: contents by name and print, of an earlier run: those are not read again.
    """

    def __init__(
        self,
        root: Path,
        quiet: float,
        outside: Path | None = None,
        known: dict[str, tuple[Print, str]] | None = None,
    ) -> None:
        self.root, self.quiet = root, quiet
        self._outside = None if outside is None else outside.resolve()
        self._known = known or {}
        self._seen: dict[Path, _Seen] = {}
        self._inodes: dict[int, Path] = {}  # of all files seen, whatever their names

    def look(self) -> tuple[list[Ready], dict[Path, str]]:
        """The clips that are ready, and, once each, those that are refused and why."""
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
            except InputVideoError as error:
                refused[path] = str(error)
                self._seen.setdefault(path, _Seen(Print(0, 0, 0), 0.0)).refused = str(error)
        for gone in self._seen.keys() - set(found):
            del self._seen[gone]
        return ready, refused

    def known(self) -> dict[str, tuple[Print, str]]:
        """What another WatchedFolder may be given."""
        return {
            str(p.relative_to(self.root)): (s.print, s.content) for p, s in self._seen.items() if s.content
        }

    def forget(self, path: Path) -> None:
        """Look at a file as if it were new."""
        self._seen.pop(path, None)

    @property
    def settling(self) -> bool:
        """Whether a file was seen that may be ready soon."""
        return any(not seen.content and not seen.refused for seen in self._seen.values())

    def pause(self) -> float:
        """Seconds after which to look again at files that have just been seen."""
        return max(_SETTLE, min(5.0, self.quiet / 3))

    def _files(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.root):
            here = Path(folder)
            folders[:] = [
                n for n in sorted(folders) if not n.startswith(".") and (here / n).resolve() != self._outside
            ]
            yield from (here / name for name in names if not name.startswith("."))

    def _notice(self, path: Path, info: Print) -> _Seen:
        """What is known of a file; everything afresh where it has changed."""
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
        watched = time.monotonic() - seen.since
        if watched < min(_SETTLE, self.quiet):
            return False
        # A file's own time may lie ahead, or be another machine's; what we saw ourselves is sure.
        age = time.time() - seen.print.mtime_ns / 1e9
        return seen.renamed or age >= self.quiet or watched >= self.quiet

    def _check_place(self, path: Path) -> None:
        if not path.resolve(strict=True).is_relative_to(self.root.resolve()):
            raise InputVideoError("it is a link to outside of the folder; copy the clip itself")


def check_whole(path: Path) -> None:
    """Raise InputVideoError for what has been quiet and yet is no whole video."""
    if missing_bytes(path) > 0:
        raise InputVideoError("it is cut off; copy it again")
    with open_video(path) as container:
        video_stream(container, path)


def fingerprint(path: Path) -> Print:
    """Of a regular file. Raises FileNotFoundError, InputVideoError for what is none."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise InputVideoError(f"{path.name}: is not a regular file")
    return Print(info.st_ino, info.st_size, info.st_mtime_ns)


def _identity(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_dev, info.st_ino


def open_for_writing() -> set[tuple[int, int]]:
    """Device and inode of every file that is open for writing on this machine, where /proc may be read."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*/fdinfo"):
        with contextlib.suppress(OSError):  # another user's process, or one that has ended
            for entry in folder.iterdir():
                with contextlib.suppress(OSError, ValueError):
                    flags = next(x for x in entry.read_text().splitlines() if x.startswith("flags:"))
                    if int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                        info = (folder.parent / "fd" / entry.name).stat()
                        if stat.S_ISREG(info.st_mode):
                            found.add((info.st_dev, info.st_ino))
    return found
