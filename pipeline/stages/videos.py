"""Stages `composite` and `encode` of a job: soft masks, full frames, and the files made of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import U8
from pipeline.request.settings import DecodeSettings, EncodeSettings
from pipeline.stages import stitch as stitch_stage
from pipeline.stages.composite import Rows, composite
from pipeline.stages.decode import decode
from pipeline.stages.edit import Variant, as_before, codes_of
from pipeline.stages.encode import encode
from pipeline.stages.insets import NAME as TURNED
from pipeline.stages.insets import (
    inset_frames,
    inset_masks,
    store_inset_masks,
    store_place,
    turned_problem,
    unturned,
)
from pipeline.stages.invert import losses_there
from pipeline.stages.outputs import (
    FaceMasks,
    as_found,
    describe,
    held_rows,
    mask_rules,
    panel_frames,
    panel_labels,
    row_images,
)
from pipeline.video.codecs import suffix_for
from pipeline.video.side_by_side import side_by_side
from pipeline.video.temporal_stabilization import VERSION as STEADY_VERSION
from storage import StageWriter, StoredArray, stage_key

if TYPE_CHECKING:
    from inverters.base import InversionProblem
    from pipeline.job.walker import Job

COMPOSITE_VERSION = 4
ENCODE_VERSION = 3

Files = dict[str, tuple[Path, str]]
"""Path and hash of each output."""


def images_of(job: Job, name: str) -> StoredArray:
    """The rendered crops [K,S,S,3] of a variant, stitched where that was asked for; the reconstruction where
    nothing was.
    """
    result = job.results.get(f"stitch/{name}", job.results.get(f"edit/{name}"))
    return as_found(job).arrays["reconstruction"] if result is None else result.arrays["images"]


def without_edits(job: Job, variant: Variant) -> StoredArray | None:
    """The rendered crops of a variant that shows the clip's own cameras, its edits left out.

    None for a removal without edits: that is such a rendering itself.
    """
    if not variant.remove_occluder:
        return as_found(job).arrays["reconstruction"]
    return images_of(job, "removal") if variant.edits else None


def full_frame(job: Job) -> dict[str, Variant]:
    """The variants that go back into the source's frames; a novel view does not fit there."""
    return {name: variant for name, variant in job.variants.items() if variant.view is None}


def masks_of(job: Job, name: str) -> FaceMasks:
    """Where a variant is shown, not counting the border that stitching adds."""
    variant, rows = job.variants[name], job.usable
    edited = job.results[f"edit/{name}"].arrays["images"] if variant.edits else None
    kept = variant.edits and not variant.remove_occluder
    return FaceMasks(
        landmarks=job.track.landmarks[rows],
        affines=job.crops.affine[rows],
        size=job.crops.size,
        settings=job.settings.composite,
        blend=as_found(job).arrays.get("blend") if variant.remove_occluder else None,
        edited=edited,
        plain=without_edits(job, variant),
        source=job.results["align"].arrays["crops"] if kept else None,
    )


def with_border(masks: FaceMasks) -> FaceMasks:
    """The same masks as far as the border goes that is to meet the source."""
    return replace(masks, settings=replace(masks.settings, grow=masks.settings.grow + stitch_stage.BORDER))


def unturned_images(job: Job) -> StoredArray:
    """The rendered crops, not stitched, of the variant that an inset's view turns."""
    result = job.results.get(f"edit/{unturned(job)}")
    return as_found(job).arrays["reconstruction"] if result is None else result.arrays["images"]


def turned_images(job: Job) -> StoredArray:
    """The crops of an inset, stitched where that was asked for."""
    return job.results.get(f"stitch/{TURNED}", job.results["edit/view"]).arrays["images"]


def store_stitched(job: Job) -> None:
    """The edited and the turned crops stitched to their frames, cached, where that was asked for; and before
    that the place of the turned ones.

    Not without the occluder: its border would have to meet the occluder.
    """
    is_asked = job.settings.composite.stitch is not None
    if is_asked and job.variants["edited"].edits:
        plain = as_found(job).arrays["reconstruction"]
        masks = masks_of(job, "edited")
        _stitch(job, "edited", job.problem, plain, (masks, with_border(masks)))
    if job.settings.edit.inset:
        before, masks = unturned_images(job), masks_of(job, unturned(job))
        store_place(job, before, masks)
        if is_asked and not job.variants["view"].remove_occluder:
            both = inset_masks(job, masks), inset_masks(job, with_border(masks))
            _stitch(job, TURNED, turned_problem(job), before, both)


def _stitch(
    job: Job, name: str, problem: InversionProblem, plain: StoredArray, masks: tuple[Rows, Rows]
) -> None:
    """One variant stitched; `masks` of its inside, and of that with its border."""
    from inverters.editing.stitching import stitching_of

    assert job.settings.composite.stitch is not None
    preset = stitching_of(job.settings.composite.stitch, job.settings.invert.preset)
    shown = "view" if name == TURNED else name
    variant, edited = job.variants[shown], job.results[f"edit/{shown}"]

    def compute(writer: StageWriter) -> None:
        times = job.clip.times[job.usable] - job.clip.times[0]
        ws = codes_of(job.shown, variant, times, job.directions, job.settings.edit.ease)
        images = edited.arrays["images"]
        stored = writer.array("images", images.shape, np.uint8)
        for picture in stitch_stage.stitch(
            job.renderer(), problem, ws, images, plain, *masks, preset, job.count
        ):
            stored.write(picture[None])

    rules = asdict(preset) | mask_rules(job.settings.composite)
    if preset.lambda_perceptual:
        rules |= losses_there()
    place = [job.results[f"inset/{TURNED}"].key] if name == TURNED else []
    inputs = [edited.key, job.results["align"].key, *place]
    job.cached(f"stitch/{name}", stage_key("stitch", stitch_stage.VERSION, rules, inputs), compute)


def store_masks(job: Job) -> None:
    """The soft mask of every row and variant, cached."""
    rows = job.usable
    for name, variant in full_frame(job).items():
        images, masks = images_of(job, name), masks_of(job, name)
        is_stitched = f"stitch/{name}" in job.results
        shown = with_border(masks) if is_stitched else masks

        def compute(writer: StageWriter, masks: FaceMasks = shown, is_stitched: bool = is_stitched) -> None:
            stored = writer.array("masks", (len(rows), masks.size, masks.size), np.uint8)
            for row in range(len(rows)):
                # Where an edit is not in force, a stitched crop is not either: the frame is the source's.
                nothing = is_stitched and masks.changes_nothing(row)
                stored.write(masks[row][None] * np.uint8(not nothing))
                job.count(row + 1, len(rows))

        inputs = [as_found(job).key, job.results["align"].key, images.hash]
        rules = mask_rules(job.settings.composite) | {"variant": asdict(variant)}
        job.cached(f"composite/{name}", stage_key("composite", COMPOSITE_VERSION, rules, inputs), compute)
    if job.settings.edit.inset:
        masks = masks_of(job, unturned(job))
        is_stitched = f"stitch/{TURNED}" in job.results
        turned = inset_masks(job, with_border(masks) if is_stitched else masks)
        store_inset_masks(job, turned, turned_images(job))


def encode_all(job: Job) -> Files:
    """Every video of the job, cached: full frames, the novel view, the crops, and all side by side."""
    row_of = {int(frame): row for row, frame in enumerate(job.usable)}
    suffix = suffix_for(job.settings.encode.codec)
    generator, method = job.generator.card.name, job.settings.invert.method
    files: Files = {}
    for name, variant in full_frame(job).items():
        comment = describe(variant, generator, method)

        whole = variant == Variant() or f"stitch/{name}" in job.results
        plain = None if whole else as_found(job).arrays["reconstruction"]

        held = _held(job, variant)

        def frames(name: str = name, plain: StoredArray | None = plain, held: Any = held) -> Iterator[U8]:
            masks = job.results[f"composite/{name}"].arrays["masks"]
            images, settings = images_of(job, name), job.settings.composite
            mixed = composite(job.clip, job.crops, images, row_of, masks, settings, plain=plain, held=held)
            return _timed(mixed, job)

        inputs = [job.results[f"composite/{name}"].key, images_of(job, name).hash]
        if held is not None:
            inputs.append(stage_key("steady", STEADY_VERSION, {"held": held.tolist()}, []))
        files[name] = _file(job, f"{name}{suffix}", frames, comment, inputs)
    if "view" in job.variants:
        images = images_of(job, "view")
        comment = describe(job.variants["view"], generator, method)
        files["view"] = _crop_file(job, "view", images, comment)
        if job.settings.edit.inset:
            images = turned_images(job)
            inputs = [job.results[f"composite/{TURNED}"].key, images.hash]
            frames_of = partial(inset_frames, job, images, row_of)
            turned = f"{TURNED}{suffix}"
            files[TURNED] = _file(job, turned, lambda: _timed(frames_of(), job), comment, inputs)
    if job.settings.encode.crops:
        name = next(n for n in ("removal_edited", "removal", "edited") if n in job.variants)
        if job.settings.edit.edits and name == "removal":
            name = "edited"
        comment = describe(job.variants[name], generator, method)
        files["crops"] = _crop_file(job, "crops", images_of(job, name), comment)
    files["comparison"] = _comparison(job, files, row_of)
    return files


def _held(job: Job, variant: Variant) -> npt.NDArray[np.bool_] | None:
    """By row, whether its changes are held to the frame before; None where that was not asked for."""
    if not job.settings.composite.steady:
        return None
    return as_before(variant.edits, job.clip.times[job.usable] - job.clip.times[0], job.settings.edit.ease)


def _file(
    job: Job,
    file_name: str,
    frames: Any,
    comment: str,
    inputs: list[str],
    settings: EncodeSettings | None = None,
    indices: list[int] | None = None,
) -> tuple[Path, str]:
    """One video through the cache; `frames` makes the frames when they are needed."""
    settings = settings or job.settings.encode
    total = len(job.clip) if indices is None else len(indices)

    def compute(writer: StageWriter) -> None:
        done = encode(
            frames(),
            job.clip,
            writer.file(file_name),
            settings,
            comment,
            indices,
            lambda count: job.count(count, total),
        )
        writer.meta["notes"] = list(done.notes)

    rules = {"codec": settings.codec, "quality": settings.quality, "comment": comment, "file": file_name}
    key = stage_key("encode", ENCODE_VERSION, rules, [job.decode_key, *inputs])
    result = job.cached(f"encode/{file_name}", key, compute)
    for text in result.meta["notes"]:
        job.note(text)
    return result.file(file_name), result.file_hash(file_name)


def _crop_file(job: Job, name: str, images: StoredArray, comment: str) -> tuple[Path, str]:
    suffix = suffix_for(job.settings.encode.codec)
    frames = [int(frame) for frame in job.usable]
    return _file(job, f"{name}{suffix}", lambda: row_images(images), comment, [images.hash], indices=frames)


def _comparison(job: Job, files: Files, row_of: Mapping[int, int]) -> tuple[Path, str]:
    """Source, outputs and view (or the turned head) beside each other; the outputs are read back from their
    files.
    """
    shown = TURNED if TURNED in files else "view"
    names = [n for n in ("edited", "removal", "removal_edited", shown) if n in files]
    if not job.settings.edit.edits and "removal" in names:
        names.remove("edited")  # the plain reconstruction tells nothing beside the removal
    labels = panel_labels(job.settings.edit)

    def frames() -> Iterator[U8]:
        streams: list[Iterable[U8]] = [panel_frames(job.clip, len(names) + 1)]
        for name in names:
            if name == "view":
                streams.append(held_rows(images_of(job, name), row_of, len(job.clip)))
            else:
                workdir = job.cache.root / "ingest"
                streams.append(decode(files[name][0], DecodeSettings(), workdir).frames())
        return side_by_side(streams, [labels["source"], *(labels[name] for name in names)])

    inputs = [files[name][1] for name in names]
    settings = replace(job.settings.encode, codec="h264", quality=None)
    return _file(job, "comparison.mp4", frames, "Edited with Invid: comparison", inputs, settings)


def _timed(frames: Iterator[U8], job: Job) -> Iterator[U8]:
    """Count the time spent on making frames as `composite`'s, not as `encode`'s."""
    spent = 0.0
    while True:
        began = time.monotonic()
        frame = next(frames, None)
        spent += time.monotonic() - began
        if frame is None:
            break
        yield frame
    job.times["composite"].seconds += spent
    job.times["encode"].seconds -= spent
