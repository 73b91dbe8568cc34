"""Sound of joined recordings: where its clock starts anew, it is shifted as the picture is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.video.stamps import LEAP

MOST = 1000
"""Joints that an expression of FFmpeg is made for, over all sound tracks; some 60 bytes each."""
_CLOSEST = Fraction(1, 1000)
"""Seconds between packets of recordings that overlap, and by which decoded sound may overlap; a tick of
Matroska."""
_MOST_GAP = 0.02
"""Seconds by which re-encoded sound may lie beside its stamps, about one packet."""
_WRAP = 1 << 33
_NOT_BEFORE = "if(eq(N,0)+gt({own},PREV_OUTPTS),{own},PREV_OUTPTS+max(1,PREV_OUTDURATION))"
"""A packet whose stamp is not after the one before follows it directly. A filter expression of `setts`."""


@dataclass(frozen=True)
class Joint:
    """The first packet of a sound track after its clock starts anew."""

    number: int
    """Packets of the track before it."""
    pts: int
    duration: int
    added: int = 0
    """What FFmpeg's program has added to the stamps from here on, in one time base with `pts`."""


@dataclass(frozen=True)
class PictureClock:
    """How the picture of a file was timed, in seconds."""

    start: Fraction = Fraction(0)
    """Of the file's clock."""
    shifts: tuple[Fraction, ...] = ()
    """What was added to its stamps from the first, second, ... new clock on."""
    stop: Fraction | None = None
    """Where all tracks end; None for all of it."""

    def corresponds(self, joints: Sequence[Joint]) -> bool:
        """Whether sound with these joints starts anew where the picture does, up to the stop."""
        count = len(self.shifts)
        return len(joints) == count if self.stop is None else len(joints) >= count


def following_packets() -> str:
    """Expression of `setts` for packets that are only put in order."""
    return _NOT_BEFORE.format(own="PTS")


def shifted_packets(joints: Sequence[Joint], clock: PictureClock, time_base: Fraction) -> str:
    """Expression of `setts` that shifts packets with the picture.

    Sound that is longer than the picture before a joint is crowded there, so that what follows is in time.
    """
    joints = joints[: len(clock.shifts)]
    shifts = [0, *(round(shift / time_base) for shift in clock.shifts)]
    step = max(1, min([math.ceil(_CLOSEST / time_base), *(joint.duration // 2 for joint in joints)]))
    start = round(clock.start / time_base)
    starts = [joint.pts - start + shift for joint, shift in zip(joints, shifts[1:], strict=True)]
    numbers = [joint.number for joint in joints]
    # packet N has to leave room for those between it and the next joint
    most = [pts - step * number for pts, number in zip(starts, numbers, strict=True)]
    added = [0, *(joint.added for joint in joints)]
    shift = _choice("N", numbers, [one - other for one, other in zip(shifts, added, strict=True)])
    ceiling = f"{_choice('N', numbers, [*most, 2**62])}+{step}*N"
    ordered = _NOT_BEFORE.format(own="ld(0)")
    return f"st(0,PTS+{shift});if(eq(N,0),ld(0),max(PREV_OUTPTS+1,min({ordered},{ceiling})))"


def shifted_samples(joints: Sequence[Joint], clock: PictureClock, time_base: Fraction, leaps: bool) -> str:
    """Filters of decoded sound that shift it with the picture; gaps become silence.

    Sound that is longer than the picture before a joint is cut there. leaps: whether a leap of the clock is a
    joint, too.
    """
    joints = joints[: len(clock.shifts)]
    shifts = [Fraction(0), *clock.shifts]
    starts = [
        joint.pts * time_base - clock.start + shift for joint, shift in zip(joints, clock.shifts, strict=True)
    ]
    ends = [f"{float(start - shift):.6f}" for start, shift in zip(starts, shifts, strict=False)]
    numbers = range(1, len(shifts))
    back = 2 * max(joint.duration for joint in joints) * time_base
    end = _choice("ld(0)", numbers, [*ends, "1e18"])
    kept = f"{_counted('pts', 'prev_pts', back, leaps)};lte(t+samples_n/sample_rate,{float(_CLOSEST)}+{end})"
    shift = _choice("ld(0)", numbers, [f"{float(shift):.6f}" for shift in shifts])
    stamps = f"{_counted('PTS', 'PREV_INPTS', back, leaps)};PTS+{shift}/TB"
    return f"aselect='{kept}',asetpts='{stamps}',aresample=async=1:min_hard_comp={_MOST_GAP}"


def _counted(pts: str, before: str, back: Fraction, leaps: bool) -> str:
    """Expression that counts joints in register 0, which keeps its value from frame to frame."""
    leap = f"+gt({pts},{before}+{float(LEAP):g}/TB)" if leaps else ""
    return f"st(0,ld(0)+lt({pts},{before}-{float(back):.6f}/TB){leap})"


class Unwrapping:
    """What FFmpeg's program adds to stamps, even with `-copyts`, where a clock of 33 bits falls back.

    Its reader adds 2**33 to stamps long before the first. A later recording without that seems to wrap.
    """

    def __init__(self) -> None:
        self.added = 0
        self._next: dict[int, int] = {}

    def read(self, index: int, pts: int, duration: int) -> None:
        """Take the next packet of stream `index`."""
        seen, expected = pts + self.added, self._next.get(index)
        if expected is not None and 10 * abs(seen + _WRAP - expected) < abs(seen - expected):
            self.added += expected - seen
            seen = expected
        self._next[index] = seen + duration


def _choice(place: str, bounds: Sequence[int], values: Sequence[int] | Sequence[str]) -> str:
    """Expression for the value of which `place` has reached the bound before it, but not the one after.

    A tree of conditions: FFmpeg's parser has a limit of depth.
    """
    if not bounds:
        return f"({values[0]})"
    middle = len(bounds) // 2
    before = _choice(place, bounds[:middle], values[: middle + 1])
    after = _choice(place, bounds[middle + 1 :], values[middle + 1 :])
    return f"if(lt({place},{bounds[middle]}),{before},{after})"
