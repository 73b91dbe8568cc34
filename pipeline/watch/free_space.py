"""Wait while a disk is nearly full: a job that fills it fails, and so would every clip after it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

FULL = "the disk is full"
"""What the reason of a job says that failed by it; see `storage.errors` and `pipeline.commands.guard`."""


class FreeSpace:
    """Watches the disks of some folders, and says when too little is free, and when there is enough again."""

    def __init__(self, folders: Sequence[Path], least: int, say: Callable[[str], None]) -> None:
        """folders: on the disks in question; they need not exist yet. least: bytes that must be free."""
        self._folders, self._least, self._say = folders, least, say
        self._waits = False

    def suffices(self) -> bool:
        """Whether each disk has enough; says so where that has changed."""
        free, folder = min((_free(folder), folder) for folder in self._folders)
        if free < self._least and not self._waits:
            self._say(
                f"{folder}: {_gb(free)} are free, less than --free {_gb(self._least)}; clips wait for room"
            )
        elif free >= self._least and self._waits:
            self._say(f"{folder}: {_gb(free)} are free; clips go on")
        self._waits = free < self._least
        return not self._waits


def _free(folder: Path) -> int:
    """Free bytes on the disk of a folder, or of the nearest one above it that exists."""
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except (FileNotFoundError, NotADirectoryError):
            continue
    return 0


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
