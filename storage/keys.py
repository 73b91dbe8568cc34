"""Cache keys and content hashes (SHA-256)."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.files import open_regular


def _plain(value: Any) -> Any:
    """Convert what json cannot write: dataclasses, paths, numpy scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a cache key")


def canonical_json(value: Any) -> str:
    """Canonical JSON: sorted names, no spaces, shortest floats; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def stage_key(stage: str, version: int, settings: Any, inputs: Iterable[str]) -> str:
    """`stage-<sha256>` of a stage's name and version, the settings it reads, and the keys of its inputs."""
    text = canonical_json([stage, version, settings, list(inputs)])
    return f"{stage}-{hashlib.sha256(text.encode()).hexdigest()}"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises OSError for what is no regular file."""
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hash(folder: Path) -> str:
    """SHA-256 of the names and bytes of the files directly in a folder, in order of name."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(os.fsencode(path.name) + f"\0{file_hash(path)}\n".encode())
    return digest.hexdigest()


class ArrayHash:
    """SHA-256 of an array's dtype, shape and C-order bytes, updated some rows at a time."""

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        """Start the hash of an array of this shape and type."""
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._digest = hashlib.sha256(f"{self._dtype.str}{list(shape)}".encode())

    def update(self, rows: npt.NDArray[Any]) -> None:
        """Add the next rows."""
        self._digest.update(np.ascontiguousarray(rows, dtype=self._dtype).tobytes())

    def hexdigest(self) -> str:
        """The hash so far, in hex."""
        return self._digest.hexdigest()


def chunk_sum(rows: npt.NDArray[Any]) -> int:
    """CRC-32 of the values of one chunk: what zstd checks says nothing of the place that it stands in."""
    return zlib.crc32(np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<")).data)


def content_hash(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's dtype, shape and bytes; equal for a stored array of the same content."""
    digest = ArrayHash(array.shape, array.dtype)
    digest.update(array)
    return digest.hexdigest()
