"""Stage `edit`, its first part: how much of an edit lies behind what covers the face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.clip import F64, I64

if TYPE_CHECKING:
    from inverters.base import InversionProblem
    from pipeline.stages.composite import Rows

VERSION = 1
MOST_ROWS = 4
"""Rows looked at, evenly spaced over those in which the edit is in force."""
_SEEN = 8 / 127.5
"""Change of a pixel in [-1,1] from which on it counts: 8 levels of 255."""


def rows_to_look_at(presence: F64) -> I64:
    """At most MOST_ROWS rows, evenly spaced over those where an edit of presence [K] is at its fullest."""
    full = np.flatnonzero((presence > 0) & (presence >= 0.5 * presence.max(initial=0.0)))
    if len(full) == 0:
        return np.zeros(0, np.int64)
    count = min(MOST_ROWS, len(full))
    middles = (np.arange(count) + 0.5) * len(full) / count
    return full[middles.astype(np.int64)]


def hidden_share(renderer: Any, problem: InversionProblem, ws: Any, blend: Rows, rows: I64) -> float | None:
    """Share in [0,1] of what an edit changes in the generator's face that the second field covers.

    In-N-Out, section 6, limits (a) and (b): there the blend leaves nothing of the edit, or it shows twice.

    ws: codes [K,num_ws,w_dim] with the edit; blend: by row, [h,w] in [0,1], the second field's share of each
    pixel; rows [n]: those looked at. None where the edit changes nothing that can be seen.
    """
    covered = changed = 0.0
    for row in rows:
        one = np.array([row])
        cameras = problem.cam2world[one], problem.intrinsics[one]
        face = {"remove_occluder": True, "high_resolution": False}
        plain = renderer.render(one, *cameras, **face).image_raw
        edited = renderer.render(one, *cameras, ws=ws[one], **face).image_raw
        change = (edited - plain).abs().amax(dim=1)[0].cpu().numpy()
        change = np.where(change > _SEEN, change, 0.0)
        covered += float((change * np.asarray(blend[row], np.float64)).sum())
        changed += float(change.sum())
    return covered / changed if changed > 0 else None
