"""Rows of a stage that renders frame by frame, kept aside as they come: a kill costs the last seconds."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

EVERY = 20.0
"""Seconds of work in a block, as between the checkpoints of an inversion."""

Rows = dict[str, npt.NDArray[Any]]


class RowBlocks:
    """Blocks of consecutive rows in a folder of checkpoints, which goes when the stage's result is published.

    A block is an .npz whose name has its number and the SHA-256 of its bytes; one that is damaged, and all
    after it, count as not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number, self._since = 0, monotonic()
        self._rows: list[Rows] = []

    def all(self, made_from: Callable[[int], Iterable[Rows]]) -> Iterator[Rows]:
        """Every row, some at a time: those of an earlier run, then what `made_from` makes from a row on.

        Each is a dict of arrays [n,...], with the same names every time.
        """
        first = 0
        for rows in self._restored():
            first += len(next(iter(rows.values())))
            yield rows
        for rows in made_from(first):
            yield rows
            self._keep(rows)

    def _restored(self) -> Iterator[Rows]:
        found = {}
        for path in self._folder.glob("rows-*.npz"):
            named = re.fullmatch(r"rows-(\d{6})-([0-9a-f]{64})\.npz", path.name)
            if named:
                found[int(named[1])] = (path, named[2])
        while self._number in found:
            path, digest = found.pop(self._number)
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                path.unlink()
                break
            self._number += 1
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                yield {name: arrays[name] for name in arrays.files}
        for path, _ in found.values():
            path.unlink()
        self._since = monotonic()

    def _keep(self, rows: Rows) -> None:
        """Put rows aside, once enough time has passed."""
        self._rows.append(rows)
        if monotonic() - self._since < EVERY:
            return
        stream = io.BytesIO()
        whole: Any = {name: np.concatenate([r[name] for r in self._rows]) for name in rows}
        np.savez(stream, **whole)
        data = stream.getvalue()
        name = f"rows-{self._number:06d}-{hashlib.sha256(data).hexdigest()}.npz"
        side = self._folder / f".{name}.part"
        side.write_bytes(data)
        side.replace(self._folder / name)
        self._rows, self._number, self._since = [], self._number + 1, monotonic()
