"""Write one result to a temporary folder (arrays by rows, files, metadata), then rename it into place."""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import StorageError, writing
from storage.keys import ArrayHash, canonical_json, chunk_sum, file_hash
from storage.layout import (
    FORMAT,
    MANIFEST,
    WHOLE_ARRAY_CHUNK,
    check_name,
    count_chunks,
    create_array,
    disk_bytes,
    seal,
)
from storage.locks import Hold
from storage.result import StageResult


class ArrayWriter:
    """Writer of one array in order of its rows."""

    def __init__(self, path: Path, root: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, chunk_rows: int):
        """Create the array at `path` in the cache `root`. Raises CacheWriteError."""
        self.path = path
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype)
        self.chunk_rows = max(1, chunk_rows)
        self.rows_written = 0
        self._root = root
        self._hash = ArrayHash(self.shape, self.dtype)
        self._sums: list[int] = []
        with writing(root):
            self._array = create_array(path, self.shape, self.dtype, self.chunk_rows)

    def write(self, rows: npt.NDArray[Any]) -> None:
        """Append rows [n, *shape[1:]]; each call but the last must fill whole chunks."""
        if rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"rows of shape {rows.shape[1:]} do not fit an array of rows {self.shape[1:]}")
        start, stop = self.rows_written, self.rows_written + len(rows)
        if stop > self.shape[0]:
            raise ValueError(f"{stop} rows written to an array of {self.shape[0]}")
        if start % self.chunk_rows:
            raise ValueError(f"row {start} is inside a chunk of {self.chunk_rows}: write whole chunks")
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        with writing(self._root):
            if len(rows):
                self._array[start:stop] = rows
        self._hash.update(rows)
        if rows.size:
            parts = range(0, len(rows), self.chunk_rows)
            self._sums += [chunk_sum(rows[first : first + self.chunk_rows]) for first in parts]
        self.rows_written = stop

    def write_scalar(self, value: npt.NDArray[Any]) -> None:
        """Set the value of an array without dimensions."""
        with writing(self._root):
            self._array[...] = value
        self._hash.update(value)
        self._sums = [chunk_sum(np.asarray(value, self.dtype))]

    def finish(self) -> dict[str, Any]:
        """Return the manifest's entry; raises StorageError where rows or chunks are missing."""
        if self.shape and self.rows_written != self.shape[0]:
            seen = f"{self.rows_written} of {self.shape[0]} rows were written"
            raise StorageError(f"array {self.path.name}: {seen}")
        expected = 1 if not self.shape else math.ceil(self.shape[0] / self.chunk_rows)
        if 0 in self.shape:
            expected = 0
        if (found := count_chunks(self.path)) != expected:
            raise StorageError(f"array {self.path.name}: {found} of {expected} chunks are on disk")
        return {
            "shape": list(self.shape),
            "dtype": self.dtype.str,
            "chunk_rows": self.chunk_rows,
            "chunks": expected,
            "sums": self._sums,
            "hash": self._hash.hexdigest(),
            "header": file_hash(self.path / "zarr.json"),
        }


class StageWriter:
    """Writer of one result; leaving the `with` block without publish() discards it."""

    def __init__(
        self,
        root: Path,
        key: str,
        release: Callable[[], None],
        label: str = "",
        on_publish: Callable[[StageResult], None] | None = None,
    ) -> None:
        """Begin the result of `key` below `root`; `release` is called when the writer is closed."""
        self.key = key
        self.meta: dict[str, Any] = {}
        self._label = label
        self._on_publish = on_publish
        self._began = time.monotonic()
        self._root = root
        self._release = release
        self._folder = root / f".tmp-{uuid.uuid4().hex[:12]}.{key}"
        self._arrays: dict[str, ArrayWriter] = {}
        self._files: list[str] = []
        with writing(root):
            (self._folder / "arrays").mkdir(parents=True)
            (self._folder / "files").mkdir()

    def array(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, *, chunk_rows: int = 1
    ) -> ArrayWriter:
        """Create an array to be written by rows; by default one row (one frame) per chunk."""
        path = self._folder / "arrays" / check_name(name)
        self._arrays[name] = ArrayWriter(path, self._root, shape, dtype, chunk_rows)
        return self._arrays[name]

    def put(self, name: str, array: npt.NDArray[Any]) -> None:
        """Write a whole array, in chunks of about 4 MB."""
        if array.ndim == 0:
            self.array(name, (), array.dtype).write_scalar(array)
            return
        row_bytes = max(1, array.nbytes // max(1, len(array)))
        rows = min(max(1, WHOLE_ARRAY_CHUNK // row_bytes), max(1, len(array)))
        self.array(name, array.shape, array.dtype, chunk_rows=rows).write(array)

    def file(self, name: str) -> Path:
        """Path at which to write the file `name` of the result."""
        if name not in self._files:
            self._files.append(check_name(name))
        return self._folder / "files" / name

    def publish(self) -> StageResult:
        """Publish the result: check, sync, rename. A result that another process published first stands."""
        with writing(self._root):
            manifest: dict[str, Any] = {
                "format": FORMAT,
                "key": self.key,
                "meta": json.loads(canonical_json(self.meta)),
                "arrays": {name: writer.finish() for name, writer in sorted(self._arrays.items())},
                "files": {name: self._file_entry(name) for name in sorted(self._files)},
                "about": self._about(),
            }
            manifest["seal"] = seal(manifest)
            sync_filesystem(self._folder)
            path = self._folder / MANIFEST
            path.write_text(json.dumps(manifest, indent=1))
            for written in (path, self._folder):
                _sync_one(written)
            target = self._root / self.key
            try:
                self._folder.rename(target)
            except OSError:
                if not (target / MANIFEST).is_file():
                    raise
            _sync_one(self._root)
            found = StageResult(target, self.key, Hold.shared(target / MANIFEST))
        if self._on_publish is not None:
            self._on_publish(found)
        shutil.rmtree(self._root / "checkpoints" / self.key, ignore_errors=True)
        self.close()
        return found

    def _about(self) -> dict[str, Any]:
        """Information for `invid cache`; no key or result depends on it."""
        return {
            "label": self._label,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": socket.gethostname(),
            "seconds": round(time.monotonic() - self._began, 3),
            "bytes": disk_bytes(self._folder),
        }

    def _file_entry(self, name: str) -> dict[str, Any]:
        """The manifest's entry of a file; raises StorageError where it was not written."""
        path = self._folder / "files" / name
        if not path.is_file():
            raise StorageError(f"file {name} of {self.key} was announced but never written")
        return {"bytes": path.stat().st_size, "hash": file_hash(path)}

    def close(self) -> None:
        """Remove what was not published and release the key."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._release()

    def __enter__(self) -> StageWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sync_filesystem(path: Path) -> None:
    """Flush the file system of `path` by one syncfs(2): fsync of a clip's chunks takes 7 ms each."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if not _syncfs or _syncfs(fd):
            os.sync()
    finally:
        os.close(fd)


_syncfs: Any = getattr(ctypes.CDLL(None), "syncfs", None)


def _sync_one(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
