"""Detect truncated video files by the lengths in their headers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Walk = Callable[[BinaryIO, int], int]
"""End in bytes, by its own headers, of a file of this size; 0: it does not say."""

_UNKNOWN, _OTHER, _CUT = 0, -1, -2
"""In place of a chunk's length: it does not say; it is no chunk and ends the walk; it is cut off."""
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MXF_KEY = bytes.fromhex("060e2b34")
_TS_SYNC = 0x47
_TS_PACKETS = {188: 0, 192: 4, 204: 0}
"""Size of a packet of a transport stream, and where in it the sync byte lies: plain, with a time code, with
error correction."""


def missing_bytes(path: Path) -> int:
    """Bytes that a file lacks by its own headers; 0: complete, or unknown.

    Knows mp4 and mov, Matroska, AVI, GIF, MPEG transport and program streams, FLV, Ogg, ASF, MXF and DV. A
    transport stream that ends between two packets, or a program stream between two packs, tells nothing.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        walk = _walk_of(file.read(1024))
        return max(0, walk(file, size) - size) if walk is not None else 0


def _walk_of(head: bytes) -> Walk | None:
    if head[4:8] in _BOXES:
        return _boxes
    if head[:16] == _ASF_HEADER:
        return _asf
    for start, walk in _STARTS.items():
        if head.startswith(start):
            return walk
    return _transport if _transport_packet(head) else None


def _boxes(file: BinaryIO, size: int) -> int:
    """The top-level boxes of an ISO base media file (ISO/IEC 14496-12, 4.2)."""
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
    # Cut exactly between two boxes: at least the index is missing. That of a picture (AVIF) is `meta`.
    return position if seen & {b"moov", b"moof", b"meta"} else max(position, size + 8)


def _matroska(file: BinaryIO, size: int) -> int:
    """The Segment of a Matroska file (RFC 8794, RFC 9559)."""

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
        if unknown or length > size:
            return 0
        file.seek(length, 1)
    return 0


def _riff(file: BinaryIO, size: int) -> int:
    """The RIFF chunks of an AVI file, of which a long one has several (OpenDML)."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF":
            return position if position else 0  # trailing bytes
        length = int.from_bytes(head[4:], "little")
        if length in (0, 0xFFFFFFFF):
            return 0  # written as a stream
        position += 8 + length + length % 2
    return position if position - size != 1 else size  # the padding byte of the last chunk may be missing


def _gif(file: BinaryIO, size: int) -> int:
    """The blocks of a GIF, up to its trailer."""
    file.seek(6)
    screen = file.read(7)
    if len(screen) < 7:
        return size + 1
    file.seek(_colours(screen[4]), 1)
    while (kind := file.read(1)) not in (b"", b";"):
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            image = file.read(9)
            if len(image) < 9:
                break
            file.seek(_colours(image[8]) + 1, 1)
        else:
            return size  # no block: what follows is ignored by players
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], 1)
    return max(size, file.tell()) if kind == b";" else size + 1


def _colours(flags: int) -> int:
    """Bytes of a GIF's colour table by its flags."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _transport_packet(head: bytes) -> int:
    """Size of the packets of an MPEG transport stream (ISO/IEC 13818-1, 2.4.3); 0: it is none."""
    for length, offset in _TS_PACKETS.items():
        marks = head[offset : offset + 3 * length + 1 : length]
        if len(marks) >= 2 and set(marks) == {_TS_SYNC}:
            return length
    return 0


def _transport(file: BinaryIO, size: int) -> int:
    file.seek(0)
    length = _transport_packet(file.read(1024))
    return -(-size // length) * length if length else 0


def _chunks(file: BinaryIO, size: int, most: int, length_of: Callable[[bytes], int], start: int = 0) -> int:
    """End of chunks that follow each other from `start` on; `length_of` tells of one by its first bytes."""
    position = start
    while position < size:
        file.seek(position)
        length = length_of(file.read(most))
        if length == _UNKNOWN:
            return 0
        if length == _OTHER:
            return size
        if length == _CUT:
            return size + 1
        position += length
    return position


def _program(file: BinaryIO, size: int) -> int:
    """The packs and packets of an MPEG program stream (ISO/IEC 13818-1, 2.5)."""

    def length_of(head: bytes) -> int:
        if head[:3] != b"\0\0\1" or len(head) < 4:
            return _CUT if b"\0\0\1".startswith(head[:3]) else _OTHER
        if head[3] == 0xBA:
            second = len(head) > 4 and head[4] >> 6 == 1  # MPEG-2; MPEG-1 has a shorter header
            return 14 + (head[13] & 7 if len(head) == 14 else 0) if second else 12
        if head[3] >= 0xBB:
            return 6 + int.from_bytes(head[4:6], "big")
        return _OTHER if head[3] == 0xB9 else _UNKNOWN  # the end of the program

    return _chunks(file, size, 14, length_of)


def _flash(file: BinaryIO, size: int) -> int:
    """The tags of an FLV file, each followed by its length."""

    def length_of(head: bytes) -> int:
        return 11 + int.from_bytes(head[1:], "big") + 4 if len(head) == 4 else _CUT

    file.seek(5)
    start = file.read(4)
    return _chunks(
        file, size, 4, length_of, int.from_bytes(start, "big") + 4 if len(start) == 4 else size + 1
    )


def _ogg(file: BinaryIO, size: int) -> int:
    """The pages of an Ogg file (RFC 3533)."""

    def length_of(head: bytes) -> int:
        if not b"OggS".startswith(head[:4]):
            return _OTHER
        lengths = head[27 : 27 + head[26]] if len(head) > 26 else b""
        return 27 + len(lengths) + sum(lengths) if len(head) > 26 and len(lengths) == head[26] else _CUT

    return _chunks(file, size, 27 + 255, length_of)


def _dv(file: BinaryIO, size: int) -> int:
    """The frames of a DV file (IEC 61834): 10 or 12 sequences of 12,000 bytes."""
    file.seek(0)
    frame = 144_000 if file.read(4)[3:] >= b"\x80" else 120_000
    return -(-size // frame) * frame


def _asf(file: BinaryIO, size: int) -> int:
    """The top-level objects of an ASF (WMV) file; a live stream does not say its length."""

    def length_of(head: bytes) -> int:
        length = int.from_bytes(head[16:], "little")
        return _CUT if len(head) < 24 else _UNKNOWN if length < 24 else length

    return _chunks(file, size, 24, length_of)


def _mxf(file: BinaryIO, size: int) -> int:
    """The key-length-value triplets of an MXF file (SMPTE 336M)."""

    def length_of(head: bytes) -> int:
        if not _MXF_KEY.startswith(head[:4]):
            return _OTHER
        if len(head) < 17:
            return _CUT
        length, used = head[16], 1
        if length & 0x80:
            used += length & 0x7F
            if len(head) < 16 + used <= 25:
                return _CUT
            if not 1 < used <= 9:
                return _OTHER
            length = int.from_bytes(head[17 : 16 + used], "big")
        return 16 + used + length

    return _chunks(file, size, 25, length_of)


_STARTS: dict[bytes, Walk] = {
    b"\x1a\x45\xdf\xa3": _matroska,
    b"RIFF": _riff,
    b"GIF8": _gif,
    b"\0\0\1\xba": _program,
    b"FLV\x01": _flash,
    b"OggS": _ogg,
    _MXF_KEY: _mxf,
    b"\x1f\x07\x00": _dv,
}
