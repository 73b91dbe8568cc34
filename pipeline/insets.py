"""The turned head of a job (`--inset`): where its crops go in the source's frames, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clip import F64, U8, Crops
from pipeline.outputs import FaceMasks
from pipeline.stages import inset
from pipeline.stages.composite import composite
from pipeline.stages.edit import turned_cameras
from pipeline.video.warp import warp_points
from storage import StageWriter, StoredArray, stage_key

if TYPE_CHECKING:
    from pipeline.job import Job

NAME = "turned"


def unturned(job: Job) -> str:
    """The variant that shows from the clip's own cameras what the view shows from elsewhere."""
    wanted = replace(job.variants["view"], view=None)
    return next(name for name, variant in job.variants.items() if variant == wanted)


def store_inset(job: Job, before: StoredArray, masks: FaceMasks) -> None:
    """How the inset moves, and its masks, cached as `composite/turned`.

    before: by row, the crops of the variant `unturned`; masks: its masks, where the source's face is.
    """
    after, rows = job.results["edit/view"].arrays["images"], job.usable
    card, size = job.generator.card, job.crops.size
    # The face is shown whole, with what hides it: neither is to remain beside the turned one.
    whole = replace(masks, source=None, blend=job.results["finetune"].arrays.get("blend"))

    def compute(writer: StageWriter) -> None:
        view = job.variants["view"].view
        assert view is not None
        own, lens = job.cameras.cam2world[rows], job.cameras.intrinsics[rows]
        other = turned_cameras(own, view, card.camera_rule.pivot)
        expected = inset.head_motion(own, other, lens, size)
        shifts = np.zeros((len(rows), 2))
        for row in range(len(rows)):
            shifts[row] = inset.flow_shift(before[row], after[row], expected[row], whole[row] > 0)
            job.count(row + 1, 2 * len(rows))
        shifts = inset.smooth_shifts(shifts, rows)
        writer.put("shift", shifts)
        landmarks: F64 = np.stack(
            [warp_points(job.track.landmarks[frame], job.crops.affine[frame]) for frame in rows]
        )
        if "68" in card.landmarks3d:
            points = card.landmarks3d["68"]
            landmarks += inset.project(points, other, lens, size) - inset.project(points, own, lens, size)
        shown = inset.InsetMasks(landmarks, whole, shifts, size, job.settings.composite)
        stored = writer.array("masks", (len(rows), size, size), np.uint8)
        for row in range(len(rows)):
            stored.write(shown[row][None])
            job.count(len(rows) + row + 1, 2 * len(rows))

    inputs = [job.results["finetune"].key, job.results["align"].key, before.hash, after.hash]
    rules = asdict(job.settings.composite) | {"variant": asdict(job.variants["view"])}
    job.cached(f"composite/{NAME}", stage_key("inset", inset.VERSION, rules, inputs), compute)


def inset_frames(job: Job, row_of: Mapping[int, int]) -> Iterator[U8]:
    """The source's frames with the turned head in them."""
    found = job.results[f"composite/{NAME}"].arrays
    affine = inset.moved_affines(job.crops.affine, found["shift"].read(), job.usable)
    images = job.results["edit/view"].arrays["images"]
    crops = Crops(affine, job.crops.size)
    return composite(job.clip, crops, images, row_of, found["masks"], job.settings.composite)
