"""The turned head of a job (`--inset`): where its crops go in the source's frames, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clip import F32, F64, U8, Crops
from pipeline.stages import inset
from pipeline.stages.composite import composite
from pipeline.stages.edit import turned_cameras
from pipeline.stages.outputs import FaceMasks, as_found, mask_rules
from pipeline.video.warp import crop_frames, warp_points
from storage import StageWriter, StoredArray, stage_key

if TYPE_CHECKING:
    from inverters.base import InversionProblem
    from pipeline.job.walker import Job

NAME = "turned"
_PLACE = f"inset/{NAME}"


def unturned(job: Job) -> str:
    """The variant that shows from the clip's own cameras what the view shows from elsewhere."""
    wanted = replace(job.variants["view"], view=None)
    return next(name for name, variant in job.variants.items() if variant == wanted)


def store_place(job: Job, before: StoredArray, masks: FaceMasks) -> None:
    """Where the inset goes, and the turned face's landmarks, cached as `inset/turned`.

    before, masks: by row, the crops and masks of the variant `unturned`. Where borders are to be stitched, so
    is what the source shows in the inset's place.
    """
    after, rows = job.results["edit/view"].arrays["images"], job.usable
    card, size = job.generator.card, job.crops.size
    whole = _whole(masks)

    def compute(writer: StageWriter) -> None:
        own, lens, other = job.cameras.cam2world[rows], job.cameras.intrinsics[rows], _cameras(job)
        expected = inset.head_motion(own, other, lens, size)
        shifts = np.zeros((len(rows), 2))
        for row in range(len(rows)):
            shifts[row] = inset.flow_shift(before[row], after[row], expected[row], whole[row] > 0)
            job.count(row + 1, len(rows))
        shifts = inset.smooth_shifts(shifts, expected, rows)
        landmarks: F64 = np.stack(
            [warp_points(job.track.landmarks[frame], job.crops.affine[frame]) for frame in rows]
        )
        if "68" in card.landmarks3d:
            points = card.landmarks3d["68"]
            landmarks += inset.project(points, other, lens, size) - inset.project(points, own, lens, size)
        writer.put("shift", shifts)
        writer.put("landmarks", landmarks)
        if job.settings.composite.stitch is not None:
            pixels = writer.array("crops", (len(rows), size, size, 3), np.uint8)
            for _, crop in crop_frames(job.clip, _moved(job, shifts)):
                pixels.write(crop[None])

    inputs = [as_found(job).key, job.results["align"].key, before.hash, after.hash]
    rules = mask_rules(job.settings.composite) | {"variant": asdict(job.variants["view"])}
    job.cached(_PLACE, stage_key("inset", inset.VERSION, rules, inputs), compute)


def inset_masks(job: Job, masks: FaceMasks) -> inset.InsetMasks:
    """Masks of the turned crops; `masks` are those of the variant `unturned`."""
    place, whole = job.results[_PLACE].arrays, _whole(masks)
    return inset.InsetMasks(
        place["landmarks"].read(), whole, place["shift"].read(), whole.size, whole.settings
    )


def turned_problem(job: Job) -> InversionProblem:
    """The job's problem with the view's cameras, and for crops what the source shows in the inset's place."""
    import torch

    cam2world = torch.from_numpy(_cameras(job)).to(job.problem.cam2world)
    return replace(job.problem, cam2world=cam2world, crops=job.results[_PLACE].arrays["crops"])


def store_inset_masks(job: Job, masks: inset.InsetMasks, images: StoredArray) -> None:
    """The masks of every row, cached as `composite/turned`."""
    rows = len(job.usable)

    def compute(writer: StageWriter) -> None:
        stored = writer.array("masks", (rows, masks.size, masks.size), np.uint8)
        for row in range(rows):
            stored.write(masks[row][None])
            job.count(row + 1, rows)

    inputs = [job.results[_PLACE].key, images.hash]
    rules = asdict(masks.settings)
    job.cached(f"composite/{NAME}", stage_key("composite", inset.VERSION, rules, inputs), compute)


def inset_frames(job: Job, images: StoredArray, row_of: Mapping[int, int]) -> Iterator[U8]:
    """The source's frames with the turned head in them."""
    masks, crops = job.results[f"composite/{NAME}"].arrays["masks"], _moved(job)
    return composite(job.clip, crops, images, row_of, masks, job.settings.composite)


def _whole(masks: FaceMasks) -> FaceMasks:
    """The masks of a face, also where a hand is before it: nothing of it is to remain."""
    return replace(masks, source=None)


def _cameras(job: Job) -> F32:
    """The view's cameras [K,4,4]."""
    view = job.variants["view"].view
    assert view is not None
    own = job.cameras.cam2world[job.usable]
    return turned_cameras(own, view, job.generator.card.camera_rule.pivot)


def _moved(job: Job, shifts: F64 | None = None) -> Crops:
    """The crops that the inset fills; `shifts` [K,2] are those that are stored, if not given."""
    shifts = job.results[_PLACE].arrays["shift"].read() if shifts is None else shifts
    return Crops(inset.moved_affines(job.crops.affine, shifts, job.usable), job.crops.size)
