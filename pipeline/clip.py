"""Dataclasses passed between stages; each array's shape and unit is in its comment."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


class Status(enum.IntEnum):
    """What is known of the face in one frame."""

    NO_FACE = 0
    INTERPOLATED = 1
    FOUND = 2


class Reason(enum.IntEnum):
    """Why a frame is not edited; `said` is what manifest and report say."""

    EDITED = 0
    NO_FACE = 1
    OTHER_PERSON = 2
    COVERED = 3
    TOO_SMALL = 4
    ODD_LANDMARKS = 5

    @property
    def said(self) -> str:
        """The reason in words; empty for a frame that is edited."""
        return _REASONS[self]


_REASONS = {
    Reason.EDITED: "",
    Reason.NO_FACE: "no face",
    Reason.OTHER_PERSON: "other person",
    Reason.COVERED: "another face is in front",
    Reason.TOO_SMALL: "face too small",
    Reason.ODD_LANDMARKS: "landmarks do not fit the picture",
}


class FrameSource(Protocol):
    """Frames on demand, in presentation order; nothing holds a whole clip."""

    def __len__(self) -> int: ...

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[U8]:
        """Yield frames [start, stop) as uint8 [H,W,3] RGB, upright (rotation tag applied)."""
        ...


class DeepSource(Protocol):
    """Frames at the depth of their file (`pipeline.video.planes.Planes`), where 8 bits do not hold them."""

    @property
    def layout(self) -> Any:
        """What the frames are (`pipeline.video.planes.Layout`)."""

    @property
    def tone(self) -> Any:
        """The tone map of high dynamic range (`pipeline.video.tone_map.ToneMap`); None for SDR."""

    def planes(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield frames [start, stop), upright."""
        ...


@dataclass(frozen=True)
class Clip:
    """One input video. `times` are presentation times in seconds, `pts` the same in units of `time_base`."""

    path: Path
    content_hash: str
    width: int
    height: int
    times: F64  # [T]
    pts: I64  # [T]
    time_base: Fraction
    rate: Fraction
    duration: float
    has_audio: bool
    color: dict[str, Any] = field(default_factory=dict)
    rotation: int = 0
    source: FrameSource | None = None
    deep: DeepSource | None = None  # the same frames at their own depth, where 8-bit RGB does not hold them
    sample_aspect: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()  # what a user should know of how the file was read
    doubts: tuple[str, ...] = ()  # signs that the file is damaged
    whole: bool = True  # False where `max_frames` left frames unread
    film: bool = True  # False for pictures, which have no tracks beside them
    pictures: tuple[Path, ...] = ()  # [T] the files of a clip that is a sequence of pictures, or one
    shifts: tuple[Fraction, ...] = ()  # seconds added to stamps from the first, second, ... new clock on

    def __len__(self) -> int:
        return len(self.times)

    @property
    def end(self) -> int:
        """End of the last frame in units of `time_base`."""
        return int(self.pts[0]) + round(Fraction(self.duration) / self.time_base)

    @property
    def stop(self) -> Fraction | None:
        """Seconds at which its sound ends, where frames were left unread; None for all of it."""
        return None if self.whole else self.end * self.time_base

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[U8]:
        """Yield frames [start, stop) as uint8 [H,W,3] RGB, upright."""
        if self.source is None:
            raise ValueError("this Clip was made without a frame source")
        return self.source.frames(start, stop)


@dataclass(frozen=True)
class Cover:
    """What passes before a face: masks bool [M,64,64] of some frames, in small windows of the face.

    places [M]: which frames, increasing; affines [M,2,3]: from pixels of a frame to its window; shares [M]:
    how much of the face is covered.
    """

    places: I64
    masks: npt.NDArray[np.bool_]
    affines: F64
    shares: F64

    def chosen(self, kept: npt.NDArray[np.bool_]) -> Cover:
        """That of some of its frames, kept [M]."""
        return Cover(self.places[kept], self.masks[kept], self.affines[kept], self.shares[kept])


@dataclass(frozen=True)
class FaceTrack:
    """One face through the clip; rows of frames without a face are NaN.

    landmarks [T,68,2] and dense [T,478,2] (NaN where the landmark model has no dense mesh) in source pixels.
    A frame that repeats the one before it to the bit has its landmarks, status and reason.
    """

    landmarks: F32
    dense: F32
    status: U8  # [T] Status
    detector: str
    repeats: I64 | None = None  # [T] the frame whose pixels a frame repeats, itself where none; None: none
    shot: I64 | None = None  # [T] number of the shot; nothing is smoothed across two; None: one shot
    reason: U8 | None = None  # [T] Reason; None: NO_FACE where there is none
    cover: Cover | None = None  # what passes before the face; None: nothing

    @property
    def usable(self) -> I64:
        """Indices [P] of the frames that have a face, found or interpolated."""
        return np.flatnonzero(self.status > 0).astype(np.int64)

    @property
    def first(self) -> I64:
        """By frame [T], the one whose pixels it repeats; itself where it repeats none."""
        return np.arange(len(self.status)) if self.repeats is None else self.repeats

    @property
    def fitted(self) -> I64:
        """Indices [K] of the frames with a face that repeat no other: the rows of a fit."""
        usable = self.usable
        fitted: I64 = usable[self.first[usable] == usable]
        return fitted

    @property
    def rows(self) -> I64:
        """The row of `fitted` that shows each frame of `usable`, [P]."""
        return np.searchsorted(self.fitted, self.first[self.usable]).astype(np.int64)

    @property
    def reasons(self) -> U8:
        """By frame [T], why it is not edited (`Reason`)."""
        if self.reason is not None:
            return self.reason
        return np.where(self.status > 0, Reason.EDITED, Reason.NO_FACE).astype(np.uint8)

    @property
    def runs(self) -> I64:
        """By frame [T], a number that changes at every cut and every gap of the face."""
        shot = np.zeros(len(self.status), np.int64) if self.shot is None else self.shot
        present = self.status > 0
        changed = np.ones(len(shot), bool)
        changed[1:] = (shot[1:] != shot[:-1]) | (present[1:] != present[:-1])
        runs: I64 = np.cumsum(changed).astype(np.int64)
        return runs


@dataclass(frozen=True)
class Crops:
    """The crop of every frame: `affine [T,2,3]` maps source to crop pixels; NaN without a face."""

    affine: F64
    size: int


@dataclass(frozen=True)
class Cameras:
    """The camera of every frame; NaN without a face.

    cam2world [T,4,4] (OpenCV axes, EG3D's world); intrinsics [T,3,3] divided by the crop size.
    """

    cam2world: F32
    intrinsics: F32
