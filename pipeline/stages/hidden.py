"""Stage `hidden`: how much of an edit lies behind what covers the face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.clip import F64, I64
from pipeline.request.edits import format_edit
from pipeline.request.settings import Settings
from pipeline.stages import track
from pipeline.stages.edit import Variant, codes_of, of_rows, settings_of
from pipeline.stages.pixels import Rows
from pipeline.stages.problem import NEEDS, row_times
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import seen_problem, shown_blend, shown_inversion, shown_name
from pipeline.stages.stage import Stage

if TYPE_CHECKING:
    from inverters.base import InversionProblem

MOST_ROWS = 4
"""Rows looked at, evenly spaced over those in which the edit is in force."""
_SEEN = 8 / 127.5
"""Change of a pixel in [-1,1] from which on it counts: 8 levels of 255."""
TOO_MUCH = 0.5
"""Share of an edit that may be hidden before the user is told."""


def rows_to_look_at(presence: F64) -> I64:
    """At most MOST_ROWS rows, evenly spaced over those where an edit of presence [P] is at its fullest."""
    full = np.flatnonzero((presence > 0) & (presence >= 0.5 * presence.max(initial=0.0)))
    if len(full) == 0:
        return np.zeros(0, np.int64)
    count = min(MOST_ROWS, len(full))
    middles = (np.arange(count) + 0.5) * len(full) / count
    return full[middles.astype(np.int64)]


def hidden_share(
    renderer: Any,
    problem: InversionProblem,
    ws: Any,
    blend: Rows,
    looked_at: I64,
    picture_rows: I64 | None = None,
) -> float | None:
    """Share in [0,1] of what an edit changes in the generator's face that the second field covers.

    In-N-Out, section 6, limits (a) and (b): there the blend leaves nothing of the edit, or it shows twice.

    ws: codes [P,num_ws,w_dim] with the edit; blend: by picture, [h,w] in [0,1], the second field's share of
    each pixel; looked_at [n]: pictures; picture_rows [P]: the row of each picture, None for one picture a
    row. None where the edit changes nothing that can be seen.
    """
    rows = np.arange(len(ws)) if picture_rows is None else picture_rows
    covered = changed = 0.0
    for picture in looked_at:
        one = np.array([picture])
        cameras = problem.cam2world[one], problem.intrinsics[one]
        face = {"remove_occluder": True, "high_resolution": False}
        plain = renderer.render(rows[one], *cameras, **face).image_raw
        edited = renderer.render(rows[one], *cameras, ws=ws[one], **face).image_raw
        change = (edited - plain).abs().amax(dim=1)[0].cpu().numpy()
        change = np.where(change > _SEEN, change, 0.0)
        covered += float((change * np.asarray(blend[picture], np.float64)).sum())
        changed += float(change.sum())
    return covered / changed if changed > 0 else None


def compute(run: StageRun) -> None:
    """Write `shares` [edits], NaN where an edit changes nothing; no array where there is no second field."""
    from inverters.editing.edit import edit_presence

    shown = shown_inversion(run)
    if not shown.ood or (blend := shown_blend(run)) is None:
        return
    rows = run.of(track.STAGE).rows
    edits, ease = run.settings.edit.edits, run.settings.edit.ease
    times, problem, renderer = row_times(run), seen_problem(run), run.models.renderer(shown)
    shares = np.full(len(edits), np.nan)
    for number, edit in enumerate(edits):
        presence = np.array([edit_presence(edit, float(time), ease) for time in times])
        variant = Variant((edit,))
        ws = codes_of(run.models.generator, of_rows(shown, rows), variant, times, run.models.directions, ease)
        share = hidden_share(renderer, problem, ws, blend, rows_to_look_at(presence), rows)
        shares[number] = np.nan if share is None else share
    run.writer.put("shares", shares)


def load(run: StageRun) -> F64:
    """The share [edits] of each edit that is hidden; empty where there is no second field."""
    shares = run.result.arrays.get("shares")
    return np.zeros(0) if shares is None else shares.read()


def notes(run: StageRun) -> list[str]:
    """Every edit most of which is hidden."""
    return [
        f"edit '{format_edit(edit)}': {100 * share:.0f} % of what it changes lies behind what covers "
        "the face and will hardly be seen; --remove-occluder shows it"
        for edit, share in zip(run.settings.edit.edits, run.hooks.value(NAME))
        if share > TOO_MUCH
    ]


NAME = "hidden"


def stages(settings: Settings) -> list[Stage[F64]]:
    """The stage of a request with edits, unless the occluder is taken off as well: then they are seen."""
    if not settings.edit.edits or settings.edit.remove_occluder:
        return []
    stage = Stage(
        NAME,
        version=2,
        load=load,
        compute=compute,
        reads=settings_of("edited", settings.edit),
        needs=(*NEEDS, shown_name(settings)),
        facts=lambda facts: facts.direction_digests,
        notes=notes,
        on_device=True,
    )
    return [stage]
