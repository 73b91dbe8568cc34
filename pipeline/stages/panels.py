"""What a video of a job says of itself, and the panels of the side-by-side video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from pipeline.clip import U8, Clip
from pipeline.request.edits import format_edit
from pipeline.request.settings import EditSettings
from pipeline.stages.edit import Variant
from pipeline.stages.problem import OfPictures
from pipeline.video.aspect import all_squared, squared_size
from storage import StoredArray

COMPARISON_HEIGHT = 540
"""Most pixels of height of a panel of the side-by-side video."""


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
    """The source as a panel: at most COMPARISON_HEIGHT high, all panels at most 4096 wide, pixels square."""
    width, height = squared_size(clip.width, clip.height, clip.sample_aspect)
    scale = min(1.0, COMPARISON_HEIGHT / height, 4096 / (width * panels))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    for frame in all_squared(clip.frames(), clip.sample_aspect):
        yield (
            frame
            if scale == 1.0
            else np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        )


def held_rows(images: StoredArray | OfPictures, rows: Mapping[int, int], count: int) -> Iterator[U8]:
    """A crop for each of `count` frames: its own, else the one before (black at the start)."""
    current: U8 = np.zeros(images.shape[1:], np.uint8)
    for frame in range(count):
        if frame in rows:
            current = images[rows[frame]]
        yield current


def row_images(images: StoredArray | OfPictures) -> Iterator[U8]:
    """All rows in order, one at a time."""
    for row in range(len(images)):
        yield images[row]
