"""Soft masks of the face in a crop: where a variant is shown in its frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, U8, Crops, FaceTrack
from pipeline.faces.covers import cover_in, outlined
from pipeline.request.settings import CompositeSettings, Settings
from pipeline.stages import align, track
from pipeline.stages.edit import images_in, plain_stage, variant_of
from pipeline.stages.pixels import Rows
from pipeline.stages.problem import source_crops
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import shown_blend, shown_cover, shown_name, shown_reconstruction
from pipeline.video.masks import face_masks, visible_change
from pipeline.video.matting import occluder_matte
from pipeline.video.warp import warp_points

BORDER = 0.1
"""Width in crop widths of the border that is to meet the source (STIT: 50 of 512 pixels)."""
OCCLUDER_REACH = 0.08
"""Crop widths beyond the face's outline within which an occluder is taken off.

Farther out the generator knows no more than the source does: its own background would show, or hair that the
person does not have.
"""
MASK_SETTINGS = ("composite.feather", "composite.grow")
"""Settings that a mask's shape depends on, for `Stage.reads`."""
_LIKE, _NEIGHBOURHOOD = 14.0, 0.02
"""Levels of 255 by which a reconstruction may differ from its crop; sigma in crop widths of the Gaussian."""


@dataclass(frozen=True)
class FaceMasks:
    """Soft composite masks by row, made when asked for: uint8 [S,S].

    blend: by row, shown where an occluder is taken off. edited, plain: by row, shown where they visibly
    differ, so that an edit of the hair or of glasses reaches beyond the face's outline. source: the crops by
    row; where they are nothing like `plain`, as a hand that the fit has not followed, the source is kept.
    covers: by row, what is before the face for a moment, where the source is kept; lifted: the same, taken
    off as the blend is. mattes: by row, what of the occluder is finer than the blend, taken off as well.
    """

    landmarks: F32  # [K,68,2]
    affines: F64  # [K,2,3]
    size: int
    settings: CompositeSettings
    blend: Rows | None = None
    edited: Rows | None = None
    plain: Rows | None = None
    source: Rows | None = None
    covers: Rows | None = None
    lifted: Rows | None = None
    mattes: Rows | None = None

    def __getitem__(self, row: int) -> U8:
        extra = self._extra(row)
        one = slice(row, row + 1)
        masks = face_masks(
            self.landmarks[one],
            self.affines[one],
            self.size,
            self.settings,
            extra=None if extra is None else {0: extra},
        )
        mask = next(masks)
        if self.covers is not None and (cover := self.covers[row]) is not None:
            mask = np.rint(mask * (1.0 - cover)).astype(np.uint8)
        if self.source is None or self.plain is None:
            return mask
        trusted: U8 = np.rint(mask * understood(self.source[row], self.plain[row])).astype(np.uint8)
        return trusted

    def changes_nothing(self, row: int) -> bool:
        """Whether a row with its edits is what it is without."""
        return (
            self.edited is not None
            and self.plain is not None
            and bool(np.array_equal(self.edited[row], self.plain[row]))
        )

    def _blend(self, row: int) -> F32:
        """How much of one row is an occluder, at the size of the crop; zero where nothing tells of one."""
        found = np.zeros((self.size, self.size), np.float32)
        if self.blend is not None:
            small = np.asarray(self.blend[row], np.float32)
            found = np.asarray(cv2.resize(small, found.shape, interpolation=cv2.INTER_LINEAR), np.float32)
        if self.lifted is not None and (cover := self.lifted[row]) is not None:
            found = np.maximum(found, cover)
        if self.mattes is not None:
            found = np.maximum(found, self.mattes[row])
        return found

    def _near_face(self, row: int) -> npt.NDArray[np.bool_]:
        """Pixels of one row within OCCLUDER_REACH of the face's outline."""
        one = slice(row, row + 1)
        wide = replace(self.settings, grow=self.settings.grow + OCCLUDER_REACH)
        return next(face_masks(self.landmarks[one], self.affines[one], self.size, wide)) > 0

    def _extra(self, row: int) -> F32 | None:
        shown: list[F32] = []
        if self.blend is not None or self.lifted is not None:
            shown.append(self._blend(row) * self._near_face(row))
        if self.edited is not None and self.plain is not None:
            shown.append(visible_change(self.edited[row], self.plain[row]))
        return np.maximum.reduce(shown) if shown else None


@dataclass(frozen=True)
class Mattes:
    """By picture, how far each pixel is the occluder's: float32 [S,S], see `video.matting`."""

    source: Rows
    behind: Rows
    blend: Rows
    cover: Rows | None = None
    _last: dict[int, F32] = field(default_factory=dict)

    def __getitem__(self, picture: int) -> F32:
        if picture not in self._last:
            behind = np.asarray(self.behind[picture])
            size = (behind.shape[1], behind.shape[0])
            source = cv2.resize(np.asarray(self.source[picture]), size, interpolation=cv2.INTER_AREA)
            self._last.clear()
            cover = None if self.cover is None else np.asarray(self.cover[picture])
            blend = np.asarray(self.blend[picture])
            self._last[picture] = occluder_matte(np.asarray(source), behind, blend, cover)
        return self._last[picture]


@dataclass(frozen=True)
class Covers:
    """By picture, what passes before the face for a moment: float32 [S,S] in [0,1], None for nothing.

    source: the crops by picture; with them the outline also holds what of the cover looks like the face.
    """

    track: FaceTrack
    crops: Crops
    source: Rows | None = None

    def __getitem__(self, picture: int) -> F32 | None:
        frame, place = int(self.track.usable[picture]), self._place(picture)
        if place is None or self.track.cover is None:
            return None
        affine, size = self.crops.affine[frame], self.crops.size
        found = cover_in(self.track.cover, place, affine, size)
        if self.source is None:
            return found
        beside = [self.source[n] for n in self.beside(picture)]
        return outlined(found, self.source[picture], beside, warp_points(self.track.landmarks[frame], affine))

    def beside(self, picture: int) -> list[int]:
        """The nearest pictures of the same run without a cover, before and after, where there are any."""
        runs = self.track.runs[self.track.usable]
        own = np.flatnonzero(runs == runs[picture]).tolist()
        before = [n for n in own if n < picture and self._place(n) is None]
        after = [n for n in own if n > picture and self._place(n) is None]
        return [*before[-1:], *after[:1]]

    def _place(self, picture: int) -> int | None:
        """Which of the track's covers a picture shows."""
        cover, frame = self.track.cover, int(self.track.usable[picture])
        if cover is None or not len(cover.places):
            return None
        place = int(np.searchsorted(cover.places, self.track.first[frame]))
        if place == len(cover.places) or cover.places[place] != self.track.first[frame]:
            return None
        return place


def understood(source: U8, reconstruction: U8) -> F32:
    """How far a crop's reconstruction may be trusted, [S,S] in [0,1], from crops uint8 [S,S,3].

    Full where the two differ by up to _LIKE levels, or twice the crop's median where the whole fit is poor;
    none from twice as much on. Over a neighbourhood: an edge a little out of place does not count.
    """
    size = source.shape[0]
    error = np.abs(source.astype(np.float32) - reconstruction).mean(axis=-1)
    error = cv2.GaussianBlur(error, (0, 0), size * _NEIGHBOURHOOD)
    like = max(_LIKE, 2.0 * float(np.median(error)))
    trust = np.clip(2.0 - error / like, 0.0, 1.0)
    return np.asarray(trust, np.float32)


def needs_of_masks(settings: Settings, name: str) -> tuple[str, ...]:
    """Names of the stages that `masks_of` reads for a variant."""
    variant = variant_of(name, settings.edit)
    needs = ["track", "align", shown_name(settings)]
    if variant.edits:
        needs.append(f"edit/{name}")
    if variant.remove_occluder and "edit/removal" not in needs:
        needs.append("edit/removal")
    plain = plain_stage(settings, name)
    return (*needs, *([] if plain is None or plain in needs else [plain]))


def masks_of(run: StageRun, name: str) -> FaceMasks:
    """Where a variant is shown, by row, without the border that stitching adds."""
    variant, usable = variant_of(name, run.settings.edit), run.of(track.STAGE).usable
    crops, shape = run.of(align.STAGE), run.settings.composite
    edited = images_in(run, f"edit/{name}") if variant.edits else None
    plain: Rows | None = None
    if not variant.remove_occluder:
        plain = shown_reconstruction(run)
    elif variant.edits:
        plain = images_in(run, "edit/removal")
    kept = variant.edits and not variant.remove_occluder
    covers = Covers(run.of(track.STAGE), crops, source_crops(run))
    blend = shown_blend(run) if variant.remove_occluder else None
    mattes = None
    if blend is not None:
        mattes = Mattes(source_crops(run), images_in(run, "edit/removal"), blend, shown_cover(run))
    return FaceMasks(
        landmarks=run.of(track.STAGE).landmarks[usable],
        affines=crops.affine[usable],
        size=crops.size,
        settings=CompositeSettings(feather=shape.feather, grow=shape.grow),
        blend=blend,
        edited=edited,
        plain=plain,
        source=source_crops(run) if kept else None,
        covers=covers if kept else None,
        lifted=covers if variant.remove_occluder else None,
        mattes=mattes,
    )


def with_border(masks: FaceMasks) -> FaceMasks:
    """The same masks as far as the border goes that is to meet the source."""
    return replace(masks, settings=replace(masks.settings, grow=masks.settings.grow + BORDER))
