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
"""Seconds between packets of neighbouring recordings that overlap, as the clock of Matroska has it."""
_MOST_GAP = 0.02
"""Seconds by which re-encoded sound may lie beside its stamps, about one packet."""
_NOT_BEFORE = "if(eq(N,0)+gt({own},PREV_OUTPTS),{own},PREV_OUTPTS+max(1,PREV_OUTDURATION))"
"""A packet whose stamp is not after the one before follows it directly. A filter expression of `setts`."""


@dataclass(frozen=True)
class Joint:
    """The first packet of a sound track after its clock starts anew."""

    number: int
    """Packets of the track before it."""
    pts: int
    duration: int


@dataclass(frozen=True)
class PictureClock:
    """How the picture of a file was timed, in seconds."""

    start: Fraction = Fraction(0)
    """Of the file's clock."""
    shifts: tuple[Fraction, ...] = ()
    """What was added to its stamps from the first, second, ... new clock on."""
    stop: Fraction | None = None
    """Where all tracks end; None for all of it."""

    def shifts_for(self, joints: Sequence[Joint]) -> tuple[Fraction, ...] | None:
        """The shift of the picture at each of these joints of the sound; None where they do not correspond.

        Joints after the stop are left out.
        """
        count = len(self.shifts)
        same = len(joints) == count if self.stop is None else len(joints) >= count
        return self.shifts if same else None


def following_packets() -> str:
    """Expression of `setts` for packets that are only put in order."""
    return _NOT_BEFORE.format(own="PTS")


def shifted_packets(joints: Sequence[Joint], clock: PictureClock, time_base: Fraction) -> str:
    """Expression of `setts` that shifts packets with the picture.

    Sound that is longer than the picture before a joint is crowded there, so that what follows is in time.
    """
    shifts = [0, *(round(shift / time_base) for shift in clock.shifts)]
    joints = joints[: len(clock.shifts)]
    step = max(1, min([math.ceil(_CLOSEST / time_base), *(joint.duration // 2 for joint in joints)]))
    start = round(clock.start / time_base)
    starts = [joint.pts - start + shift for joint, shift in zip(joints, shifts[1:], strict=True)]
    numbers = [joint.number for joint in joints]
    # packet N has to leave room for those between it and the next joint
    most = [pts - step * number for pts, number in zip(starts, numbers, strict=True)]
    shift = _choice("N", numbers, shifts)
    ceiling = f"{_choice('N', numbers, [*most, 2**62])}+{step}*N"
    ordered = _NOT_BEFORE.format(own="ld(0)")
    return f"st(0,PTS+{shift});if(eq(N,0),ld(0),max(PREV_OUTPTS+1,min({ordered},{ceiling})))"


def shifted_samples(joints: Sequence[Joint], clock: PictureClock, time_base: Fraction, leaps: bool) -> str:
    """Filters of decoded sound that shift it with the picture, fill gaps and cut overlaps.

    leaps: whether a leap of the clock is a joint, too.
    """
    shifts = [f"{float(shift):.6f}" for shift in (Fraction(0), *clock.shifts)]
    back = float(2 * max(joint.duration for joint in joints) * time_base)
    changed = f"lt(PTS,PREV_INPTS-{back:.6f}/TB)"
    if leaps:
        changed += f"+gt(PTS,PREV_INPTS+{float(LEAP):g}/TB)"
    # registers of an expression keep their values: number 0 counts joints
    stamps = f"st(0,ld(0)+{changed});PTS+{_choice('ld(0)', range(1, len(shifts)), shifts)}/TB"
    filters = [f"asetpts='{stamps}'", f"aresample=async=1:min_hard_comp={_MOST_GAP}"]
    return ",".join(filters)


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
