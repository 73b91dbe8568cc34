"""Read a published result; arrays are read by rows on demand, and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import CacheDamagedError
from storage.keys import ArrayHash, chunk_sum, file_hash
from storage.layout import (
    FORMAT,
    MOST_MANIFEST,
    check_name,
    chunk_path,
    count_chunks,
    open_array,
    seal,
    unpacked_bytes,
)
from storage.locks import Hold

_MOST_ROWS = 1 << 40
"""Of a side of an array."""


class StoredArray:
    """Array on disk: `array[3]`, `array[2:5]`, `array[rows]` read those rows, `read()` reads all."""

    def __init__(self, path: Path, key: str, entry: Mapping[str, Any]) -> None:
        """Describe the array at `path` by its entry in the manifest of result `key`."""
        self.path = path
        self.shape = tuple(int(n) for n in entry["shape"])
        self.dtype = np.dtype(entry["dtype"])
        self.hash = str(entry["hash"])
        self._key = key
        self._chunk_rows = int(entry["chunk_rows"])
        self._chunks = int(entry["chunks"])
        self._header = str(entry["header"])
        self._sums = [int(n) for n in entry["sums"]]
        sides = (*self.shape, self._chunk_rows)
        if not 0 <= min(sides) <= max(sides) <= _MOST_ROWS or self._chunk_rows < 1:
            raise ValueError(f"array {path.name} has a shape that no array has")
        if not len(self._sums) == self._chunks == self._expected_chunks():
            raise ValueError(f"array {path.name} has a shape and chunks that do not fit")

    def _expected_chunks(self) -> int:
        if 0 in self.shape:
            return 0
        return math.ceil(self.shape[0] / self._chunk_rows) if self.shape else 1

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def _array(self) -> Any:
        try:
            found = open_array(self.path)
            if (found.shape, found.dtype) != (self.shape, self.dtype):
                raise ValueError(f"it is {found.dtype} {list(found.shape)}")
            if 0 not in self.shape and math.prod(found.chunks) * self.dtype.itemsize != self._chunk_bytes:
                raise ValueError(f"it has chunks of {list(found.chunks)}")
            return found
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RuntimeError,
            ArithmeticError,
        ) as error:
            raise CacheDamagedError(self._key, f"array {self.path.name} cannot be opened: {error}") from error

    def __getitem__(self, rows: int | slice | npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        """Rows by index; an int drops the first axis. Raises CacheDamagedError for a damaged chunk."""
        if isinstance(rows, slice):
            wanted = np.arange(*rows.indices(len(self)))
        else:
            wanted = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        if wanted.size and (wanted.min() < -len(self) or wanted.max() >= len(self)):
            raise IndexError(f"row {wanted.max()} of an array of {len(self)}")
        wanted = wanted % max(1, len(self))
        if isinstance(rows, int | np.integer) and 0 not in self.shape:
            number, within = divmod(int(wanted[0]), self._chunk_rows)
            row = np.asarray(self._chunk(number)[within])
            return row if self._chunk_rows == 1 else row.copy()
        out = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        numbers = wanted // self._chunk_rows
        if 0 not in out.shape:
            for number in np.unique(numbers):
                block = self._chunk(int(number))
                here = numbers == number
                out[here] = block[wanted[here] - number * self._chunk_rows]
        return np.asarray(out[0]) if isinstance(rows, int | np.integer) else out

    def _chunk(self, number: int) -> npt.NDArray[Any]:
        """Rows of one chunk."""
        start = number * self._chunk_rows
        return self._guarded(number, slice(start, start + self._chunk_rows))

    def _guarded(self, number: int, selection: Any) -> npt.NDArray[Any]:
        """Read a selection that lies in one chunk; raises CacheDamagedError."""
        # Zarr returns the fill value for a missing chunk, so its file is checked first.
        file, name = (
            chunk_path(self.path, number, len(self.shape)),
            f"chunk {number} of array {self.path.name}",
        )
        if not file.is_file():
            raise CacheDamagedError(self._key, f"{name} is missing")
        try:
            if (size := unpacked_bytes(file)) != self._chunk_bytes:
                raise ValueError(f"it unpacks to {size} bytes, not {self._chunk_bytes}")
            rows = np.asarray(self._array[selection])
        except (OSError, ValueError, KeyError, RuntimeError, ArithmeticError) as error:
            raise CacheDamagedError(self._key, f"{name}: {error}") from error
        if chunk_sum(rows) != self._sums[number]:
            raise CacheDamagedError(self._key, f"{name} is not what was published there")
        return rows

    @property
    def _chunk_bytes(self) -> int:
        """Bytes of a whole chunk; the last one is filled up."""
        rows = min(1, len(self.shape)) * self._chunk_rows or 1
        return rows * math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self) -> npt.NDArray[Any]:
        """Read the whole array."""
        return self[:] if self.shape else self._guarded(0, ...)

    def check(self) -> None:
        """Raise CacheDamagedError unless the header and the number of chunks are as published."""
        try:
            header, chunks = file_hash(self.path / "zarr.json"), count_chunks(self.path)
        except OSError as error:
            raise CacheDamagedError(self._key, f"array {self.path.name}: {error.strerror}") from error
        if header != self._header:
            raise CacheDamagedError(self._key, f"the header of array {self.path.name} has changed")
        if chunks != self._chunks:
            raise CacheDamagedError(self._key, f"array {self.path.name} has {chunks}/{self._chunks} chunks")

    def verify(self) -> None:
        """Read everything; raises CacheDamagedError unless it has the published hash."""
        self.check()
        digest = ArrayHash(self.shape, self.dtype)
        if self.shape:
            for start in range(0, len(self), self._chunk_rows):
                digest.update(self[start : start + self._chunk_rows])
        else:
            digest.update(self.read())
        if digest.hexdigest() != self.hash:
            raise CacheDamagedError(self._key, f"array {self.path.name} is not what was published")


class StageResult:
    """A published result: `meta`, `arrays` and files by name. It is not removed while this object lives."""

    def __init__(self, folder: Path, key: str, hold: Hold) -> None:
        """Read the manifest under `hold`. Raises CacheDamagedError."""
        self.key = key
        self.folder = folder
        self._hold = hold
        manifest = _read_manifest(key, hold)
        try:
            self.about: dict[str, Any] = dict(manifest["about"])
            self.meta: dict[str, Any] = dict(manifest["meta"])
            self.arrays = {
                str(name): StoredArray(folder / "arrays" / check_name(name), key, entry)
                for name, entry in manifest["arrays"].items()
            }
            self._files: dict[str, dict[str, Any]] = {
                check_name(name): {"bytes": int(entry["bytes"]), "hash": str(entry["hash"])}
                for name, entry in manifest["files"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CacheDamagedError(key, f"its manifest is incomplete: {error!r}") from error

    def close(self) -> None:
        """Release the hold: the result may be removed from now on."""
        self._hold.close()

    @property
    def file_names(self) -> list[str]:
        """Names of the files of this result."""
        return sorted(self._files)

    def file(self, name: str) -> Path:
        """Path of a file, its bytes checked against the published hash; read only."""
        path = self.folder / "files" / name
        self._check_size(name)
        if file_hash(path) != self._files[name]["hash"]:
            raise CacheDamagedError(self.key, f"file {name} is not what was published")
        return path

    def file_hash(self, name: str) -> str:
        """SHA-256 of a file as published."""
        return str(self._files[name]["hash"])

    def _check_size(self, name: str) -> None:
        """Raise CacheDamagedError unless a file exists with its published size."""
        path = self.folder / "files" / name
        if not path.is_file() or path.stat().st_size != self._files[name]["bytes"]:
            raise CacheDamagedError(self.key, f"file {name} is missing or has another size")

    def check(self) -> None:
        """Quick check: headers and chunk counts of arrays, sizes of files. Raises CacheDamagedError."""
        for array in self.arrays.values():
            array.check()
        for name in self._files:
            self._check_size(name)

    def verify(self) -> None:
        """Full check: every byte against its hash. Raises CacheDamagedError."""
        for array in self.arrays.values():
            array.verify()
        for name in self._files:
            self.file(name)


def _read_manifest(key: str, hold: Hold) -> dict[str, Any]:
    """Parse and check the manifest under `hold`; raises CacheDamagedError."""
    try:
        manifest = json.loads(hold.read(MOST_MANIFEST))
        if not isinstance(manifest, dict):
            raise CacheDamagedError(key, "its manifest is not an object")
        if manifest.get("format") != FORMAT or manifest.get("key") != key:
            raise CacheDamagedError(key, "its manifest is of another format or key")
        if manifest.get("seal") != seal(manifest):
            raise CacheDamagedError(key, "its manifest has changed")
        return manifest
    except (OSError, ValueError, RecursionError) as error:
        raise CacheDamagedError(key, f"its manifest cannot be read: {error}") from error
