"""Frame source `decord`, refused for files that decord reads differently from PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clip import U8, FrameSource
from pipeline.errors import InputVideoError, UserError
from pipeline.video.container import LONGEST
from pipeline.video.probe import Probe

_ADVICE = "use the default reader (av) for this file"
_GREY_LEVELS = 6.0  # two correct conversions of one frame differ by less than 1 on average


class DecordSource:
    """Frames of one file through decord; count and times come from PyAV's Probe."""

    def __init__(self, path: Path, probe: Probe, reference: FrameSource) -> None:
        """Open `path` and compare it with `reference`; raises UserError where they differ.

        decord ignores edit lists and some tags, so the number of frames and the first and last picture are
        compared.
        """
        self._path = path
        self._count = len(probe.pts)
        if probe.orientation != (False, False, False):
            raise UserError(f"{path}: has a rotation tag, which decord applies in its own way; {_ADVICE}")
        if probe.interlaced or probe.resized:
            what = "is interlaced" if probe.interlaced else "changes its size"
            raise UserError(f"{path}: {what}, which decord does not heed; {_ADVICE}")
        if probe.end * probe.time_base > LONGEST:
            raise UserError(f"{path}: its clock does not start at 0, which decord does not bear; {_ADVICE}")
        reader = self._open()
        if len(reader) != self._count and (probe.whole or len(reader) < self._count):
            raise UserError(
                f"{path}: decord sees {len(reader)} frames where {self._count} are shown (an edit list?);"
                f" {_ADVICE}"
            )
        for index in {0, self._count - 1}:
            (expected,) = reference.frames(index, index + 1)
            seen = self._at(reader, index)
            if seen.shape != expected.shape:
                raise UserError(f"{path}: decord gives frames of {seen.shape[1]}x{seen.shape[0]}; {_ADVICE}")
            if np.abs(seen.astype(np.int16) - expected).mean() > _GREY_LEVELS:
                raise UserError(f"{path}: decord gives another picture for frame {index}; {_ADVICE}")

    def __len__(self) -> int:
        return self._count

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[U8]:
        """Yield frames [start, stop) as uint8 [H,W,3] RGB, one at a time."""
        stop = self._count if stop is None else min(stop, self._count)
        if not 0 <= start < stop:
            return
        reader = self._open()
        for index in range(start, stop):
            yield self._at(reader, index)

    def _open(self) -> Any:
        import decord

        try:
            os.fspath(self._path.absolute()).encode()
        except UnicodeEncodeError:
            raise UserError(f"{self._path}: its name is not UTF-8, as decord needs; {_ADVICE}") from None
        try:
            return decord.VideoReader(str(self._path.absolute()), ctx=decord.cpu(0), num_threads=1)
        except (decord.DECORDError, RuntimeError, OSError):
            raise UserError(f"{self._path}: decord cannot open it; {_ADVICE}") from None

    def _at(self, reader: Any, index: int) -> U8:
        import decord

        try:
            pixels: U8 = reader[index].asnumpy()
        except (decord.DECORDError, RuntimeError, IndexError):
            raise InputVideoError(f"{self._path}: decord cannot read frame {index}; {_ADVICE}") from None
        return pixels
