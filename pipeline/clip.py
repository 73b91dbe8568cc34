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
    deep: DeepSource | None = None  # the same frames beyond 8 bits, with alpha or full range; None for others
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
class FaceTrack:
    """One face through the clip; rows of frames without a face are NaN.

    landmarks [T,68,2] and dense [T,478,2] (NaN where the landmark model has no dense mesh) in source pixels.
    """

    landmarks: F32
    dense: F32
    status: U8  # [T] Status
    detector: str

    @property
    def usable(self) -> I64:
        """Indices of the frames that have a face, found or interpolated."""
        return np.flatnonzero(self.status > 0).astype(np.int64)


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
