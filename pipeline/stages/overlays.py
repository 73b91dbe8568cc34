"""What is laid over the source's frames to make an output: read from the results of the stages before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.request.edits import format_edit
from pipeline.request.occluder_masks import FrameMasks
from pipeline.request.settings import CompositeSettings, Settings
from pipeline.stages import align, decode, inset, track
from pipeline.stages.clip_checks import face_mask_files
from pipeline.stages.composite import Overlays, Texture, full_frame_variants, is_stitched
from pipeline.stages.edit import Variant, as_before, images_in, images_stage, settings_of, variant_of
from pipeline.stages.face_masks import Covers
from pipeline.stages.facts import Facts
from pipeline.stages.panels import describe
from pipeline.stages.pixels import Covered, Rows
from pipeline.stages.problem import OfPictures, row_times, source_crops
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import shown_name, shown_reconstruction
from pipeline.stages.stage import global_name
from pipeline.stages.uncover import Uncovered, WithCover
from pipeline.video.temporal_stabilization import VERSION as STEADY_VERSION
from storage import StoredArray


def faces_of_run(run: StageRun, name: str) -> list[tuple[StageRun, str]]:
    """Each face whose variant goes into an output, as a run of its own, with the name of that variant."""
    count = 1 + max((int(need.partition("@")[2] or 0) for need in run.needs), default=0)
    runs = [run.hooks.in_face(place) for place in range(count)]
    return [(one, name if one.needed(f"composite/{name}") else nearest(name)) for one in runs]


def overlays_of_faces(run: StageRun, name: str) -> list[Overlays]:
    """What is laid over the source's frames to make an output, face by face."""
    return [overlays_of(one, own) for one, own in faces_of_run(run, name)]


def comment_of_faces(run: StageRun, name: str) -> str:
    """What an output's metadata says: that it was edited, and with what."""
    found = []
    for one, own in faces_of_run(run, name):
        variant = variant_of("view" if own == inset.TURNED else own, one.settings.edit)
        found.append(describe(variant, one.models.generator.card.name, one.settings.invert.method))
    return "; ".join(dict.fromkeys(found))


def nearest(name: str) -> str:
    """The variant that a face without edits of its own has in the place of this one."""
    return "removal" if name == "removal_edited" else "edited"


def overlays_of(run: StageRun, name: str) -> Overlays:
    """What is laid over the frames for the face that `run` is about: a variant, or the turned head."""
    turned = name == inset.TURNED
    variant = variant_of("view" if turned else name, run.settings.edit)
    whole = turned or variant == Variant() or run.needed(f"stitch/{name}") is not None
    held: npt.NDArray[np.bool_] | None = None
    if not turned and run.settings.composite.steady:
        held = as_before(variant.edits, row_times(run), run.settings.edit.ease if variant.edits else 0.0)
    clip = run.of(decode.STAGE)
    rendered: Rows = images_of(run, name)
    plain: Rows | None = None if whole else _plain(run, variant, name)
    if variant.remove_occluder and not turned:
        rendered, plain = _behind_covers(run, rendered, plain)
    return Overlays(
        crops=inset.moved_crops(run) if turned else run.of(align.STAGE),
        rendered=rendered,
        rows=row_of_frame(run),
        masks=run.result_of(f"composite/{name}").arrays["masks"],
        settings=CompositeSettings(),
        size=(clip.width, clip.height),
        plain=plain,
        held=held,
        by_hand=None if turned else _by_hand(run),
        texture=None if turned or variant == Variant() else _texture(run),
    )


def _plain(run: StageRun, variant: Variant, name: str) -> Rows:
    """The crops as they were found, by row; of a removal itself with the source where the occluder is.

    What a second field tells beside the occluder, such as hair that the generator does not know, is no part
    of a removal: the source has it, and keeps it.
    """
    mattes = None
    if variant.remove_occluder:
        mattes = run.result_of(f"composite/{name}").arrays.get("mattes")
    if mattes is None:
        return shown_reconstruction(run)
    return Covered(images_in(run, "edit/removal"), source_crops(run), mattes)


def _behind_covers(run: StageRun, rendered: Rows, plain: Rows | None) -> tuple[Rows, Rows | None]:
    """A removal's renders with what is behind a momentary cover, and what they are compared with."""
    found, source = run.of(track.STAGE), source_crops(run)
    covers = Covers(found, run.of(align.STAGE), source)
    times = run.of(decode.STAGE).times[found.first[found.usable]]
    removed = run.result_of("edit/removal").arrays["images"]
    behind = Uncovered(rendered, removed, source, covers, times)
    return behind, None if plain is None else WithCover(plain, source, covers)


def _texture(run: StageRun) -> Texture:
    return Texture(source_crops(run), shown_reconstruction(run))


def _by_hand(run: StageRun) -> FrameMasks | None:
    """The user's face masks by row; None without any."""
    folder = run.settings.composite.face_masks
    if folder is None:
        return None
    files = face_mask_files(run.of(decode.STAGE), folder, run.of(track.STAGE).usable)
    return FrameMasks(Path(folder), files)


def images_of(run: StageRun, variant: str) -> StoredArray | OfPictures:
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


def overlay_needs(settings: Settings, name: str, others: Sequence[Settings] = ()) -> tuple[str, ...]:
    """Names of the stages that `overlays_of_faces` reads; others: settings of the faces after the first."""
    if name == inset.TURNED:
        images = f"stitch/{name}" if is_stitched(settings, name) else "edit/view"
        return ("decode", "track", "align", inset.PLACE, f"composite/{name}", images)
    found = ["decode"]
    for place, one in enumerate((settings, *others)):
        own = variant_in(one, name)
        of_face = ("track", "align", shown_name(one), f"composite/{own}", shown_images(one, own))
        removed = ("edit/removal",) if variant_of(own, one.edit).remove_occluder else ()
        found += [global_name(need, place) for need in (*of_face, *removed)]
    return tuple(dict.fromkeys(found))


def overlay_reads(settings: Settings, name: str, others: Sequence[Settings] = ()) -> tuple[str, ...]:
    """Settings that `overlays_of_faces` reads."""
    if name == inset.TURNED:
        return settings_of("view", settings.edit)
    found = ["composite.steady", "composite.face_masks"]
    for one in (settings, *others):
        found += settings_of(variant_in(one, name), one.edit)
    return tuple(dict.fromkeys(found))


def variant_in(settings: Settings, name: str) -> str:
    """The variant of a face with these settings in an output of this name."""
    return name if name in full_frame_variants(settings) else nearest(name)


def overlay_facts(
    settings: Settings, name: str, base: Callable[[Facts], Any], others: Sequence[Settings] = ()
) -> Callable[[Facts], Any]:
    """What an output depends on beside settings: `base`, the stabilisation, masks, and edits of others.

    The edits of all faces stand in the metadata.
    """
    steady, by_hand = settings.composite.steady, settings.composite.face_masks is not None
    if name == inset.TURNED or not (steady or by_hand or others):
        return base

    def facts(facts: Facts) -> dict[str, Any]:
        found = {"base": base(facts)}
        if steady:
            found["steady"] = STEADY_VERSION
        if by_hand:
            found["face_masks"] = facts.face_masks
        if others:
            faces = facts.all_settings.track.face
            found["edits"] = [[format_edit(edit) for edit in face.edits] for face in faces]
        return found

    return facts
