"""How one result lies on disk, and how its arrays are stored.

ROOT/<key>/manifest.json            written last: what exists, with hashes, sealed by one of its own;
                                    readers hold a lock on it, and its time is that of the last use
ROOT/<key>/arrays/<name>/           one Zarr 3 array each
ROOT/<key>/files/<name>             whole files
ROOT/.tmp-<uuid>.<key>/             being written; becomes ROOT/<key> by one rename
ROOT/.locks/<key>                   held by the process that computes <key>
ROOT/checkpoints/<key>/             of a long stage, until its result is published
ROOT/ingest/<name>                  whole files that are named by what they were made of
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.keys import canonical_json

MANIFEST = "manifest.json"
FORMAT = 2
WHOLE_ARRAY_CHUNK = 4 << 20
"""Bytes a chunk of an array that is put whole; small arrays are then one file."""

_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*")


def check_name(name: str) -> str:
    """`name`, if it can be a file's name everywhere; ValueError otherwise."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot name an array, a file or a key: use letters, digits, _ . + -")
    return name


def seal(manifest: dict[str, Any]) -> str:
    """The hash that a manifest carries of all else in it."""
    text = canonical_json({name: value for name, value in manifest.items() if name != "seal"})
    return hashlib.sha256(text.encode()).hexdigest()


def disk_bytes(folder: Path) -> int:
    """What a folder's files take on the disk."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def create_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, chunk_rows: int) -> Any:
    """A new Zarr 3 array in chunks of `chunk_rows` rows.

    The checksum is asked for because Zarr's default zstd returns wrong values for a flipped bit; chunks of
    the fill value are written because otherwise a missing chunk could not be told from a black frame.
    """
    import zarr
    from zarr.codecs import ZstdCodec

    chunks = (max(1, chunk_rows), *(max(1, n) for n in shape[1:])) if shape else ()
    return zarr.create_array(
        store=str(path),
        shape=shape,
        chunks=chunks,
        dtype=np.dtype(dtype),
        compressors=ZstdCodec(level=1, checksum=True),
        fill_value=0,
        config={"write_empty_chunks": True},
        chunk_key_encoding={"name": "default", "separator": "."},
    )


def open_array(path: Path) -> Any:
    """The Zarr array at `path`, read-only."""
    import zarr

    return zarr.open_array(store=str(path), mode="r", zarr_format=3)


def chunk_path(path: Path, index: int, ndim: int) -> Path:
    """The file of the chunk that holds rows [index * chunk_rows, (index + 1) * chunk_rows)."""
    return path / ".".join(["c", str(index), *["0"] * (ndim - 1)]) if ndim else path / "c"


def count_chunks(path: Path) -> int:
    """How many chunk files an array's folder holds."""
    return sum(1 for p in path.iterdir() if p.name == "c" or p.name.startswith("c."))
