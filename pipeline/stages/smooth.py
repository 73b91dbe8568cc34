"""Stage `smooth`: codes averaged over neighbouring frames (`--smooth`), and the clip rendered with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clip import I64, FaceTrack
from pipeline.request.settings import Settings
from pipeline.stages import finetune, track
from pipeline.stages.invert import STAGE as INVERT
from pipeline.stages.problem import NEEDS, OfPictures, by_picture, problem_of
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from storage import StageResult, StoredArray

if TYPE_CHECKING:
    from inverters.base import Inversion, InversionProblem


def compute(run: StageRun) -> None:
    """Write `reconstruction`, `blend` and the metrics of the smoothed inversion."""
    problem = problem_of(run).seen_by(run.of(INVERT).cameras)
    renderer = run.models.renderer(load(run))
    finetune.store_reconstruction(run.writer, renderer, problem, run.blocks(), run.count)


def load(run: StageRun) -> Inversion:
    """The tuned inversion with its codes smoothed, never across a gap or a cut."""
    from inverters.editing.smoothing import smooth_inversion

    tuned = run.of(finetune.STAGE)
    ordered = replace(tuned, frames=places(run.of(track.STAGE)))
    return replace(smooth_inversion(ordered, run.settings.edit.smooth), frames=tuned.frames)


def places(found: FaceTrack) -> I64:
    """Numbers [K] of the fitted frames: one after the other within a run, one left out between runs."""
    run = found.runs[found.fitted]
    numbers: I64 = np.arange(len(run)) + np.cumsum(np.diff(run, prepend=run[:1]) != 0)
    return numbers


STAGE = Stage(
    "smooth",
    version=3,
    load=load,
    compute=compute,
    reads=("edit.smooth",),
    needs=(*NEEDS, "invert", "finetune"),
    on_device=True,
)


def stages(settings: Settings) -> list[Stage[Inversion]]:
    """The stage of a request with `--smooth`."""
    return [] if settings.edit.smooth == "none" else [STAGE]


def shown_name(settings: Settings) -> str:
    """The stage whose inversion is rendered: `smooth` where that was asked for, else `finetune`."""
    return "finetune" if settings.edit.smooth == "none" else "smooth"


def shown_inversion(run: StageRun) -> Inversion:
    """The inversion that is rendered, of the stage that `run` needs."""
    return run.of(STAGE if run.needed("smooth") else finetune.STAGE)


def shown_result(run: StageRun) -> StageResult:
    """The clip rendered as it was found: `reconstruction`, `blend` and metrics."""
    return run.result_of(run.needed("smooth") or "finetune")


def shown_reconstruction(run: StageRun) -> StoredArray | OfPictures:
    """The crops of the clip rendered as it was found, by picture: uint8 [P,S,S,3]."""
    return by_picture(run, shown_result(run).arrays["reconstruction"])


def shown_blend(run: StageRun) -> StoredArray | OfPictures | None:
    """The second field's share of each pixel by picture, [P,h,w]; None without a second field."""
    return _map(run, "blend")


def shown_cover(run: StageRun) -> StoredArray | OfPictures | None:
    """An encoder's soft mask of what is not the face, by picture [P,h,w]; None without one beside a field."""
    return _map(run, "cover")


def _map(run: StageRun, name: str) -> StoredArray | OfPictures | None:
    found = shown_result(run).arrays.get(name)
    return None if found is None else by_picture(run, found)


def seen_problem(run: StageRun) -> InversionProblem:
    """The clip's crops by picture, with the cameras that the inversion refined."""
    problem = problem_of(run).seen_by(shown_inversion(run).cameras)
    rows = run.of(track.STAGE).rows
    return problem if len(rows) == len(problem.frames) else problem.of_rows(rows)
