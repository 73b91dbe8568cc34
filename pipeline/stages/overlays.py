"""What is laid over the source's frames to make an output: read from the results of the stages before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.request.occluder_masks import FrameMasks
from pipeline.request.settings import CompositeSettings, Settings
from pipeline.stages import align, decode, inset, track
from pipeline.stages.clip_checks import face_mask_files
from pipeline.stages.composite import Overlays, Texture, is_stitched
from pipeline.stages.edit import Variant, as_before, images_in, images_stage, settings_of, variant_of
from pipeline.stages.facts import Facts
from pipeline.stages.problem import row_times
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import shown_name, shown_result
from pipeline.video.temporal_stabilization import VERSION as STEADY_VERSION
from storage import StoredArray


def overlays_of(run: StageRun, name: str) -> Overlays:
    """What is laid over the source's frames to make an output: of a variant, or the turned head."""
    turned = name == inset.TURNED
    variant = variant_of("view" if turned else name, run.settings.edit)
    whole = turned or variant == Variant() or run.needed(f"stitch/{name}") is not None
    held: npt.NDArray[np.bool_] | None = None
    if not turned and run.settings.composite.steady:
        held = as_before(variant.edits, row_times(run), run.settings.edit.ease if variant.edits else 0.0)
    clip = run.of(decode.STAGE)
    return Overlays(
        crops=inset.moved_crops(run) if turned else run.of(align.STAGE),
        rendered=images_of(run, name),
        rows=row_of_frame(run),
        masks=run.result_of(f"composite/{name}").arrays["masks"],
        settings=CompositeSettings(),
        size=(clip.width, clip.height),
        plain=None if whole else shown_result(run).arrays["reconstruction"],
        held=held,
        by_hand=None if turned else _by_hand(run),
        texture=None if turned or variant == Variant() else _texture(run),
    )


def _texture(run: StageRun) -> Texture:
    return Texture(run.result_of("align").arrays["crops"], shown_result(run).arrays["reconstruction"])


def _by_hand(run: StageRun) -> FrameMasks | None:
    """The user's face masks by row; None without any."""
    folder = run.settings.composite.face_masks
    if folder is None:
        return None
    files = face_mask_files(run.of(decode.STAGE), folder, run.of(track.STAGE).usable)
    return FrameMasks(Path(folder), files)


def images_of(run: StageRun, variant: str) -> StoredArray:
    """The crops of a variant: stitched, rendered, or the reconstruction, whichever the stage needs."""
    rendered = "view" if variant == inset.TURNED else variant
    name = run.needed(f"stitch/{variant}", f"edit/{rendered}", "smooth", "finetune")
    return images_in(run, name or f"edit/{rendered}")


def row_of_frame(run: StageRun) -> dict[int, int]:
    """The row of each source frame that has a face."""
    return {int(frame): row for row, frame in enumerate(run.of(track.STAGE).usable)}


def shown_images(settings: Settings, variant: str) -> str:
    """The stage whose images a file of this variant shows."""
    return f"stitch/{variant}" if is_stitched(settings, variant) else images_stage(settings, variant)


def overlay_needs(settings: Settings, name: str) -> tuple[str, ...]:
    """Names of the stages that `overlays_of` reads."""
    if name == inset.TURNED:
        images = f"stitch/{name}" if is_stitched(settings, name) else "edit/view"
        return ("decode", "track", "align", inset.PLACE, f"composite/{name}", images)
    images = shown_images(settings, name)
    every = ("decode", "track", "align", shown_name(settings), f"composite/{name}", images)
    return tuple(dict.fromkeys(every))


def overlay_reads(settings: Settings, name: str) -> tuple[str, ...]:
    """Settings that `overlays_of` reads."""
    if name == inset.TURNED:
        return settings_of("view", settings.edit)
    return ("composite.steady", "composite.face_masks", *settings_of(name, settings.edit))


def overlay_facts(settings: Settings, base: Callable[[Facts], Any]) -> Callable[[Facts], Any]:
    """What outputs with overlays depend on beside settings: `base`, the stabilisation, the user's masks."""
    steady, by_hand = settings.composite.steady, settings.composite.face_masks is not None
    if not steady and not by_hand:
        return base

    def facts(facts: Facts) -> dict[str, Any]:
        found = {"base": base(facts)}
        if steady:
            found["steady"] = STEADY_VERSION
        if by_hand:
            found["face_masks"] = facts.face_masks
        return found

    return facts
