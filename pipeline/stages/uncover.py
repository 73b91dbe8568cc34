"""Removal of what passes before the face for a moment: the frames before and after tell what is behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.clip import F32, F64, U8
from pipeline.stages.face_masks import Covers, understood
from pipeline.stages.pixels import Rows


@dataclass(frozen=True)
class Uncovered:
    """Renders of a removal by picture, uint8 [S,S,3], with the source's detail under a momentary cover.

    What the source has beyond the removal in the nearest pictures before and after without a cover is mixed
    by time and added. It is left out where the source is nothing like the removal there, as on a mask.
    rendered: perhaps with edits. removed: the same without edits. times [P] in seconds; a picture that
    repeats another has its time.
    """

    rendered: Rows
    removed: Rows
    source: Rows
    covers: Covers
    times: F64

    def __getitem__(self, picture: int, /) -> U8:
        shown, cover = np.asarray(self.rendered[picture]), self.covers[picture]
        if cover is None:
            return shown
        detail = np.zeros(shown.shape, np.float32)
        for near, weight in self._weights(picture):
            detail += weight * self._detail(near)
        filled: U8 = np.clip(np.rint(shown + cover[..., None] * detail), 0, 255).astype(np.uint8)
        return filled

    def _detail(self, picture: int) -> F32:
        """What the source [S,S,3] has beyond the removal."""
        source, removed = np.asarray(self.source[picture]), np.asarray(self.removed[picture])
        trust = understood(source, removed)[..., None]
        return np.asarray(trust * (source.astype(np.float32) - removed), np.float32)

    def _weights(self, picture: int) -> list[tuple[int, float]]:
        """The pictures beside without a cover, and their weights, which sum to 1."""
        beside = self.covers.beside(picture)
        if len(beside) < 2:
            return [(n, 1.0) for n in beside]
        start, stop = (float(self.times[n]) for n in beside)
        share = (float(self.times[picture]) - start) / (stop - start)
        return [(beside[0], 1.0 - share), (beside[1], share)]


@dataclass(frozen=True)
class WithCover:
    """Reconstructions by picture, uint8 [S,S,3], with the source under a momentary cover."""

    found: Rows
    source: Rows
    covers: Covers

    def __getitem__(self, picture: int, /) -> U8:
        shown, cover = np.asarray(self.found[picture]), self.covers[picture]
        if cover is None:
            return shown
        mixed = shown + cover[..., None] * (np.asarray(self.source[picture], np.float32) - shown)
        return np.asarray(np.rint(mixed), np.uint8)
