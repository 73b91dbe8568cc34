"""Mutations of bytes, of whatever format: `mutated(rng, data)` is other bytes, and what was done to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np

Rng = np.random.Generator
One = TypeVar("One")
EXTREMES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Lengths and counts at which a reader of 8, 16 or 32 bits goes wrong; 64 bits add their own."""
WIDE = (1 << 40, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
NUMBERS = (
    *(b"nan", b"inf", b"-inf", b"1e400", b"-1", b"0", b"9223372036854775808", b"18446744073709551616"),
    *(b"1e-400", b"0x10", b"", "１２".encode(), b"9" * 5000),
)
"""Texts in place of a number."""
HEAD = 400
"""Bytes at the start, where most headers are; half of all mutations are aimed there."""


def pick(rng: Rng, found: Sequence[One]) -> One:
    """One of a sequence."""
    return found[int(rng.integers(len(found)))]


def place(rng: Rng, data: bytes) -> int:
    """An offset into `data`, in half of the cases near its start."""
    end = min(len(data), HEAD) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(1, end)))


def span(rng: Rng, data: bytes) -> tuple[int, int]:
    """Start and stop of a run of bytes, of any order of length."""
    start = place(rng, data)
    length = int(2 ** rng.uniform(0, np.log2(max(2, len(data) - start))))
    return start, start + length


def flipped(rng: Rng, data: bytes) -> bytes:
    """Some bits the other way round."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if out:
            out[place(rng, data)] ^= 1 << int(rng.integers(8))
    return bytes(out)


def overwritten(rng: Rng, data: bytes) -> bytes:
    """A run replaced by zeros, ones or noise."""
    start, stop = span(rng, data)
    length = len(data[start:stop])
    fill = (bytes(length), b"\xff" * length, rng.bytes(length))[int(rng.integers(3))]
    return data[:start] + fill + data[stop:]


def cut(rng: Rng, data: bytes) -> bytes:
    """The beginning alone."""
    return data[: place(rng, data)]


def removed(rng: Rng, data: bytes) -> bytes:
    """Without a run."""
    start, stop = span(rng, data)
    return data[:start] + data[stop:]


def inserted(rng: Rng, data: bytes) -> bytes:
    """Noise in between."""
    start = place(rng, data)
    return data[:start] + rng.bytes(int(2 ** rng.uniform(0, 10))) + data[start:]


def doubled(rng: Rng, data: bytes) -> bytes:
    """A run twice, or many times."""
    start, stop = span(rng, data)
    times = 2 if rng.random() < 0.8 else min(200, 1 + 1_000_000 // max(1, stop - start))
    return data[:start] + data[start:stop] * times + data[stop:]


def swapped(rng: Rng, data: bytes) -> bytes:
    """Two runs in each other's places."""
    a, b, c, d = sorted(int(n) for n in rng.integers(0, len(data) + 1, 4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def stretched(rng: Rng, data: bytes) -> bytes:
    """A number of 1 to 8 bytes set to an extreme."""
    width = pick(rng, (1, 2, 4, 4, 8))
    value = pick(rng, EXTREMES + WIDE if width == 8 else EXTREMES)
    start = place(rng, data)
    if rng.random() < 0.5:
        start -= start % width
    order: Literal["big", "little"] = "big" if rng.random() < 0.5 else "little"
    written = (value % (1 << 8 * width)).to_bytes(width, order)
    return data[:start] + written + data[start + width :]


def renumbered(rng: Rng, data: bytes) -> bytes:
    """A number in text replaced by another kind of number."""
    found = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", data[:100_000])]
    if not found:
        return stretched(rng, data)
    start, stop = found[int(rng.integers(len(found)))]
    return data[:start] + NUMBERS[int(rng.integers(len(NUMBERS)))] + data[stop:]


def lengthened(rng: Rng, data: bytes) -> bytes:
    """Noise or zeros at the end."""
    return data + (rng.bytes(100) if rng.random() < 0.5 else bytes(1 << int(rng.integers(4, 20))))


MUTATIONS: tuple[Callable[[Rng, bytes], bytes], ...] = (
    *(flipped, flipped, overwritten, overwritten, cut, removed, inserted),
    *(doubled, swapped, stretched, stretched, stretched, renumbered, lengthened),
)


def mutated(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """Other bytes, by one mutation, and its name."""
    chosen = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
    return chosen(rng, data), chosen.__name__
