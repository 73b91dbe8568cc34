"""Detect truncated video files by the lengths in their headers."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO


def missing_bytes(path: Path) -> int:
    """Bytes that an mp4, mov, mkv, webm or avi file lacks by its own headers; 0: complete, or unknown.

    Follows the top-level boxes of ISO/IEC 14496-12, the Segment of RFC 8794/9559 and the RIFF chunk size.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            end = _end_of_boxes(file, size)
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            end = _end_of_segment(file)
        elif head[:4] == b"RIFF" and len(head) >= 8:
            end = 8 + struct.unpack("<I", head[4:8])[0]
        else:
            end = 0
    return max(0, end - size)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """End in bytes of the top-level boxes of an ISO base media file of `size` bytes."""
    position, seen = 0, set()
    while position < size:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return position + 8
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        elif length == 0:
            length = size - position
        if length < 8:
            return size  # not a box: trailing bytes that players ignore
        seen.add(kind)
        position += length
    # Cut exactly between two boxes: at least the index is missing.
    return position if seen & {b"moov", b"moof"} else max(position, size + 8)


def _end_of_segment(file: BinaryIO) -> int:
    """End in bytes of the Segment of a Matroska file; 0 where its length is not given."""

    def number(keep_marker: bool) -> tuple[int, bool]:
        """Read an EBML variable-length integer, and whether it is the reserved value "unknown"."""
        start = file.read(1)
        if not start or start[0] == 0:
            return 0, True
        length = 9 - start[0].bit_length()
        rest = file.read(length - 1)
        value = int.from_bytes(start + rest, "big")
        mask = (1 << (7 * length)) - 1
        return (value if keep_marker else value & mask), (value & mask) == mask

    file.seek(0)
    for _ in range(4):  # the EBML header, optional Void elements, the Segment
        identity, _ = number(keep_marker=True)
        length, unknown = number(keep_marker=False)
        if identity == 0x18538067:
            return 0 if unknown else file.tell() + length
        if unknown:
            return 0
        file.seek(length, 1)
    return 0
