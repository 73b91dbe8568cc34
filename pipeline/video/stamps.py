"""Time stamps of decoded frames: missing, repeated and backward ones mended, and the frame rate they show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from pipeline.clip import I64

_BACK = 2
"""Steps by which a stamp has to go back to be a new clock, rather than a wrong stamp."""
LEAP = Fraction(10)
"""Seconds without a stamp after which the clock of a broadcast stream is taken to start anew."""
_MOST_RATE = Fraction(1_000_000)
"""Frames a second of a damaged file; FFmpeg holds a rate in 32 bits."""
_CLOSE = 0.05
"""Relative difference of two frame rates that are the same."""


@dataclass(frozen=True)
class Stamps:
    """Stamps of all frames in units of the stream's time base."""

    pts: I64  # [T] strictly increasing
    filled: bool  # True where some had no stamp, or one not after the stamp before
    shifts: tuple[int, ...]  # what was added from the first, second, ... change of the clock on

    @property
    def as_in_file(self) -> bool:
        """True where every stamp is the file's own."""
        return not self.filled and not self.shifts


def mended(stamps: Sequence[int | None], step: int, longest: int | None = None) -> Stamps:
    """Strictly increasing stamps.

    Where the clock starts anew, as in two recordings joined, it goes on one `step` after the frame before;
    also where it leaps by more than `longest`. Single stamps that are missing or not after the one before are
    spread evenly between their neighbours.
    """
    found: list[int | None] = []
    shifts: list[int] = []
    shift, previous = 0, None
    for stamp in stamps:
        if stamp is not None:
            value = stamp + shift
            if previous is not None and is_new_clock(value - previous, step, longest):
                shift += previous + step - value
                value = previous + step
                shifts.append(shift)
            previous = value if previous is None else max(previous, value)
            found.append(value)
        else:
            found.append(None)
    return _filled(found, step, tuple(shifts))


def is_new_clock(difference: int, step: int, longest: int | None) -> bool:
    """Whether a stamp that differs so much from the one before is of a clock that starts anew.

    step: usual difference. longest: more is a leap; None where a clock does not leap.
    """
    return difference < -_BACK * step or (longest is not None and difference > longest)


def _filled(found: list[int | None], step: int, shifts: tuple[int, ...]) -> Stamps:
    anchors: list[tuple[int, int]] = []
    for index, value in enumerate(found):
        if value is None:
            continue
        # each frame between two anchors needs a tick of its own
        if not anchors or value - anchors[-1][1] >= index - anchors[-1][0]:
            anchors.append((index, value))
    if not anchors:
        anchors = [(0, 0)]
    first, last = anchors[0], anchors[-1]
    count, own = len(found), len(anchors)
    # Before the first anchor and after the last, frames are one step apart.
    anchors = [(0, first[1] - step * first[0])] * (first[0] > 0) + anchors
    if last[0] < count - 1:
        anchors.append((count - 1, last[1] + step * (count - 1 - last[0])))
    at, values = np.array(anchors, np.int64).T
    pts = np.empty(count, np.int64)
    for (i, a), (j, b) in pairwise(anchors):
        pts[i:j] = a + (b - a) * np.arange(j - i) // (j - i)
    pts[at] = values
    return Stamps(pts, own < count or None in found, shifts)


def usual_step(stamps: Iterable[int | None], otherwise: int) -> int:
    """Median of the differences between stamps that follow each other; `otherwise` where there are none."""
    known = np.array([stamp for stamp in stamps if stamp is not None], np.int64)
    steps = np.diff(known)
    steps = steps[steps > 0]
    return max(1, int(np.median(steps))) if len(steps) else max(1, otherwise)


def frame_rate(pts: I64, time_base: Fraction, said: Iterable[Fraction | None]) -> Fraction:
    """Mean rate of the frames in Hz: of what the file says, the first that its stamps agree with.

    Where none does, as for some DV and AVI files that give the rate of their clock, the rate measured.
    """
    if len(pts) < 2:
        return next((rate for rate in said if rate and rate < 1000), Fraction(25))
    measured = Fraction(len(pts) - 1, int(pts[-1] - pts[0])) / time_base
    for rate in said:
        if rate and abs(rate / measured - 1) <= _CLOSE:
            return rate
    return min(measured, _MOST_RATE).limit_denominator(1001)
