"""Checkpoints of a stage that computes rows in order: a killed job loses the last seconds only."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.files import open_regular, replacing

EVERY = 20.0
"""Seconds of work per block, as between the checkpoints of an inversion."""

Rows = dict[str, npt.NDArray[Any]]


class RowBlocks:
    """Blocks of consecutive rows in a folder of checkpoints (removed when the stage's result is published).

    A block is an .npz file; its name has its number and the SHA-256 of its bytes. A damaged block and all
    after it are ignored.
    """

    def __init__(self, folder: Path) -> None:
        """Use this existing folder."""
        self._folder = folder
        self._number, self._since = 0, monotonic()
        self._rows: list[Rows] = []

    def all(self, made_from: Callable[[int], Iterable[Rows]]) -> Iterator[Rows]:
        """Yield all rows, some at a time: those of an earlier run, then those of `made_from(first row)`.

        Rows are a dict of arrays [n,...], with the same names every time.
        """
        first = 0
        for rows in self._restored():
            first += len(next(iter(rows.values())))
            yield rows
        for rows in made_from(first):
            yield rows
            self._keep(rows)

    def _restored(self) -> Iterator[Rows]:
        """Yield the rows of an earlier run; removes damaged blocks and those after them."""
        found = {}
        for path in self._folder.glob("rows-*.npz"):
            named = re.fullmatch(r"rows-(\d{6})-([0-9a-f]{64})\.npz", path.name)
            if named:
                found[int(named[1])] = (path, named[2])
        while self._number in found:
            path, digest = found.pop(self._number)
            rows = _block(path, digest)
            if rows is None:
                path.unlink()
                break
            self._number += 1
            yield rows
        for path, _ in found.values():
            path.unlink()
        self._since = monotonic()

    def _keep(self, rows: Rows) -> None:
        """Collect rows, and write a block once EVERY seconds have passed."""
        self._rows.append(rows)
        if monotonic() - self._since < EVERY:
            return
        stream = io.BytesIO()
        whole: Any = {name: np.concatenate([r[name] for r in self._rows]) for name in rows}
        np.savez(stream, **whole)
        data = stream.getvalue()
        name = f"rows-{self._number:06d}-{hashlib.sha256(data).hexdigest()}.npz"
        with replacing(self._folder / name) as side:
            side.write_bytes(data)
        self._rows, self._number, self._since = [], self._number + 1, monotonic()


def _block(path: Path, digest: str) -> Rows | None:
    """The rows of a block; None where it is not as it was written."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != digest:
            return None
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                return None  # we do not compress: no block unpacks to more than its file
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile):
        return None
