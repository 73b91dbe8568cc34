"""Layout of the cache folder, and the storage format of arrays.

ROOT/<key>/manifest.json            written last: contents with hashes, and a hash over the manifest itself;
                                    readers lock it, its modification time is the last use
ROOT/<key>/arrays/<name>/           one Zarr 3 array each
ROOT/<key>/files/<name>             whole files
ROOT/CACHEDIR.TAG                   marks the folder as a cache of Invid (and tells backups to skip it)
ROOT/.tmp-<uuid>.<key>/             being written; becomes ROOT/<key> by one rename
ROOT/.locks/<key>                   locked by the process that computes <key>
ROOT/checkpoints/<key>/             of a long stage, until its result is published
ROOT/ingest/<name>                  files named by a word and 24 digits of a hash of what they were made from

A key is a stage's name and 64 hexadecimal digits. Whatever else lies in the folder is not the cache's: it is
not listed, read or removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.files import open_regular
from storage.keys import canonical_json

MANIFEST = "manifest.json"
FORMAT = 3
MOST_MANIFEST = 1 << 28
"""Bytes of a manifest that are read."""
WHOLE_ARRAY_CHUNK = 4 << 20
"""Bytes per chunk of an array that is put whole; small arrays become one file."""

TAG = "CACHEDIR.TAG"

_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*")
_KEY = re.compile(r"[a-z][a-z0-9_-]*-[0-9a-f]{64}")
_INGESTED = re.compile(r"[a-z]+-[0-9a-f]{24}\.[a-z0-9]+")
_DRAFT = re.compile(r"\.tmp-[0-9a-f]{12}\.(.+)")
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
_OURS = "# The stage cache of Invid. Results are computed again where it is removed."


def check_name(name: str) -> str:
    """Return `name` if it is a valid file name on every system; raises ValueError otherwise."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot name an array, a file or a key: use letters, digits, _ . + -")
    return name


def is_key(name: str) -> bool:
    """Whether a name is a key as `storage.keys.stage_key` makes them."""
    return _KEY.fullmatch(name) is not None


def is_ingested(name: str) -> bool:
    """Whether a name is one of a file that is kept in `ingest`."""
    return _INGESTED.fullmatch(name) is not None


def draft_key(name: str) -> str | None:
    """The key in the name of a temporary folder of ours, else None."""
    found = _DRAFT.fullmatch(name)
    return found[1] if found and is_key(found[1]) else None


def is_cache(root: Path) -> bool:
    """Whether a folder is marked as a cache of Invid; nothing is written."""
    try:
        with os.fdopen(open_regular(root / TAG), "rb") as file:
            return file.read(200).decode(errors="replace").splitlines()[:2] == [_SIGNATURE, _OURS]
    except OSError:
        return False


def mark(root: Path) -> None:
    """Mark a folder as a cache of Invid, unless it has a tag; raises OSError where it cannot be written."""
    draft = root / f".probe-{uuid.uuid4().hex[:12]}"
    draft.write_text(f"{_SIGNATURE}\n{_OURS}\n")
    if (root / TAG).exists():
        draft.unlink()
    else:
        draft.replace(root / TAG)


def seal(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest without its own field `seal`."""
    text = canonical_json({name: value for name, value in manifest.items() if name != "seal"})
    return hashlib.sha256(text.encode()).hexdigest()


def disk_bytes(folder: Path) -> int:
    """Disk usage of a folder's files in bytes."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def create_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, chunk_rows: int) -> Any:
    """Create a Zarr 3 array in chunks of `chunk_rows` rows.

    With checksums: Zarr's default zstd returns wrong values for a flipped bit. With chunks of the fill value
    written: otherwise a missing chunk could not be told from a black frame.
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
    """Open the Zarr array at `path`, read-only."""
    import zarr

    return zarr.open_array(store=str(path), mode="r", zarr_format=3)


def chunk_path(path: Path, index: int, ndim: int) -> Path:
    """File of the chunk with rows [index * chunk_rows, (index + 1) * chunk_rows)."""
    return path / ".".join(["c", str(index), *["0"] * (ndim - 1)]) if ndim else path / "c"


def unpacked_bytes(path: Path) -> int:
    """Bytes that a chunk's file says it unpacks to (RFC 8878, 3.1.1.1), -1 where it is no frame of zstd.

    Read before anything is unpacked, as a few bytes can stand for gigabytes.
    """
    with path.open("rb") as file:
        head = file.read(18)
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        return -1
    single, sized = head[4] >> 5 & 1, head[4] >> 6
    at = 5 + (not single) + (0, 1, 2, 4)[head[4] & 3]
    width = (single, 2, 4, 8)[sized]
    size = int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)
    return size if width and len(head) >= at + width else -1


def count_chunks(path: Path) -> int:
    """Number of chunk files in an array's folder."""
    return sum(1 for p in path.iterdir() if p.name == "c" or p.name.startswith("c."))
