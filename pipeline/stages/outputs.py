"""What the videos of a job are made of: masks, panels, held frames, and what their metadata says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, U8, Clip
from pipeline.request.edits import format_edit
from pipeline.request.settings import CompositeSettings, EditSettings
from pipeline.stages.edit import Variant
from pipeline.video.masks import face_masks, visible_change
from storage import StageResult, StoredArray

if TYPE_CHECKING:
    from pipeline.job.walker import Job

COMPARISON_HEIGHT = 540
"""Most pixels of height of a panel of the side-by-side video."""
OCCLUDER_REACH = 0.08
"""Crop widths beyond the face's outline within which an occluder is taken off.

Farther out the generator knows no more than the source does: its own background would show, or hair that the
person does not have.
"""
_LIKE, _NEIGHBOURHOOD = 14.0, 0.02
"""Levels of 255 by which a reconstruction may differ from its crop, over a Gaussian
this wide in crop widths."""


def as_found(job: Job) -> StageResult:
    """The clip rendered as it was found: `reconstruction`, `blend`; smoothed where that was asked for."""
    return job.results.get("smooth", job.results["finetune"])


def mask_rules(settings: CompositeSettings) -> dict[str, Any]:
    """The settings that masks depend on: not those of how the frames are put together."""
    rules = asdict(settings)
    del rules["steady"]
    return rules


@dataclass(frozen=True)
class FaceMasks:
    """Soft composite masks by row, made when asked for: uint8 [S,S].

    blend: by row, shown where an occluder is taken off. edited, plain: by row, shown where they visibly
    differ, so that an edit of the hair or of glasses reaches beyond the face's outline. source: the crops by
    row; where they are nothing like `plain`, as a hand that the fit has not followed, the source is kept.
    """

    landmarks: F32  # [K,68,2]
    affines: F64  # [K,2,3]
    size: int
    settings: CompositeSettings
    blend: StoredArray | None = None
    edited: StoredArray | None = None
    plain: StoredArray | None = None
    source: StoredArray | None = None

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
        """The blend of one row at the size of the crop; zero without an occluder's field."""
        if self.blend is None:
            return np.zeros((self.size, self.size), np.float32)
        small = np.asarray(self.blend[row], np.float32)
        return np.asarray(
            cv2.resize(small, (self.size, self.size), interpolation=cv2.INTER_LINEAR), np.float32
        )

    def _near_face(self, row: int) -> npt.NDArray[np.bool_]:
        """Pixels of one row within OCCLUDER_REACH of the face's outline."""
        one = slice(row, row + 1)
        wide = replace(self.settings, grow=self.settings.grow + OCCLUDER_REACH)
        return next(face_masks(self.landmarks[one], self.affines[one], self.size, wide)) > 0

    def _extra(self, row: int) -> F32 | None:
        shown: list[F32] = []
        if self.blend is not None:
            shown.append(self._blend(row) * self._near_face(row))
        if self.edited is not None and self.plain is not None:
            shown.append(visible_change(self.edited[row], self.plain[row]))
        return np.maximum.reduce(shown) if shown else None


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


def describe(variant: Variant, generator: str, method: str) -> str:
    """What the metadata of an output says."""
    done = [format_edit(edit) for edit in variant.edits]
    if variant.remove_occluder:
        done.append("occluder removed")
    if variant.view is not None:
        view = variant.view
        done.append("orbit" if view.orbit else f"view yaw={view.yaw:g},pitch={view.pitch:g}")
    what = ", ".join(done) if done else "face reconstructed, no edit"
    return f"Edited with Invid: {what} (method {method}, generator {generator})"


def panel_labels(settings: EditSettings) -> dict[str, str]:
    """Labels of the panels of the side-by-side video, by output."""
    return {
        "source": "source",
        "edited": ", ".join(f"{e.name} {e.strength:+g}" for e in settings.edits) or "reconstruction",
        "removal": "occluder removed",
        "removal_edited": "removed and edited",
        "view": "orbit" if settings.view is not None and settings.view.orbit else "novel view",
        "turned": "head turned",
    }


def panel_frames(clip: Clip, panels: int) -> Iterator[U8]:
    """The source as a panel: at most COMPARISON_HEIGHT high, and all panels at most 4096 wide."""
    scale = min(1.0, COMPARISON_HEIGHT / clip.height, 4096 / (clip.width * panels))
    size = (max(2, round(clip.width * scale)), max(2, round(clip.height * scale)))
    for frame in clip.frames():
        yield (
            frame
            if scale == 1.0
            else np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        )


def held_rows(images: StoredArray, rows: Mapping[int, int], count: int) -> Iterator[U8]:
    """A crop for each of `count` frames: its own, else the one before (black at the start)."""
    current: U8 = np.zeros(images.shape[1:], np.uint8)
    for frame in range(count):
        if frame in rows:
            current = images[rows[frame]]
        yield current


def row_images(images: StoredArray) -> Iterator[U8]:
    """All rows in order, one at a time."""
    for row in range(len(images)):
        yield images[row]
