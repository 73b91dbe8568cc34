"""Stage `edit` of a job, before its variants: codes smoothed in time, and edits that will not be seen."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from pipeline.request.edit_names import digests_of
from pipeline.request.edits import format_edit
from pipeline.stages import finetune as finetune_stage
from pipeline.stages import hidden as hidden_stage
from pipeline.stages.edit import Variant, codes_of
from pipeline.stages.outputs import as_found
from storage import StageWriter, stage_key
from storage.row_blocks import RowBlocks

if TYPE_CHECKING:
    from pipeline.job.walker import Job

SMOOTH_VERSION = 1
TOO_MUCH = 0.5
"""Share of an edit that may be hidden before the job says so."""


def prepare(job: Job) -> None:
    """The inversion as it is to be shown, as `job.shown`; what cannot be seen of an edit is told."""
    smooth(job)
    tell_hidden(job)


def smooth(job: Job) -> None:
    """Smooth the codes where that was asked for, and render and measure the clip so, cached."""
    kind = job.settings.edit.smooth
    if kind == "none":
        return
    from inverters.editing.smoothing import smooth_inversion

    job.shown = smooth_inversion(job.tuned, kind)

    def compute(writer: StageWriter) -> None:
        blocks = RowBlocks(job.cache.checkpoint_dir(writer.key))
        finetune_stage.store_reconstruction(writer, job.renderer(), job.problem, blocks, job.count)

    job.cached("smooth", stage_key("smooth", SMOOTH_VERSION, kind, [job.results["finetune"].key]), compute)


def tell_hidden(job: Job) -> None:
    """Note every edit most of which lies behind what covers the face.

    Not where the occluder is taken off as well: there the edit is seen.
    """
    edits, ease = job.settings.edit.edits, job.settings.edit.ease
    if not job.shown.ood or not edits or job.settings.edit.remove_occluder:
        return
    blend = as_found(job).arrays["blend"]
    times = job.clip.times[job.usable] - job.clip.times[0]

    def compute(writer: StageWriter) -> None:
        from inverters.editing.edit import edit_presence

        shares = np.full(len(edits), np.nan)
        for number, edit in enumerate(edits):
            presence = np.array([edit_presence(edit, float(time), ease) for time in times])
            rows = hidden_stage.rows_to_look_at(presence)
            ws = codes_of(job.shown, Variant((edit,)), times, job.directions, ease)
            share = hidden_stage.hidden_share(job.renderer(), job.problem, ws, blend, rows)
            shares[number] = np.nan if share is None else share
        writer.put("shares", shares)

    rules = {"edits": [asdict(edit) for edit in edits], "ease": ease}
    rules["directions"] = digests_of(edits, job.directions)
    inputs = [as_found(job).key, job.decode_key]
    result = job.cached("hidden", stage_key("hidden", hidden_stage.VERSION, rules, inputs), compute)
    for edit, share in zip(edits, result.arrays["shares"].read()):
        if share > TOO_MUCH:
            job.note(
                f"edit '{format_edit(edit)}': {100 * share:.0f} % of what it changes lies behind what covers "
                "the face and will hardly be seen; --remove-occluder shows it"
            )
