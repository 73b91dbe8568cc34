"""Stage `smooth`: codes averaged over neighbouring frames (`--smooth`), and the clip rendered with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.request.settings import Settings
from pipeline.stages import finetune
from pipeline.stages.invert import STAGE as INVERT
from pipeline.stages.problem import NEEDS, problem_of
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from storage import StageResult

if TYPE_CHECKING:
    from inverters.base import Inversion, InversionProblem


def compute(run: StageRun) -> None:
    """Write `reconstruction`, `blend` and the metrics of the smoothed inversion."""
    problem = problem_of(run).seen_by(run.of(INVERT).cameras)
    renderer = run.models.renderer(load(run))
    finetune.store_reconstruction(run.writer, renderer, problem, run.blocks(), run.count)


def load(run: StageRun) -> Inversion:
    """The tuned inversion with its codes smoothed."""
    from inverters.editing.smoothing import smooth_inversion

    smoothed: Inversion = smooth_inversion(run.of(finetune.STAGE), run.settings.edit.smooth)
    return smoothed


STAGE = Stage(
    "smooth",
    version=1,
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


def seen_problem(run: StageRun) -> InversionProblem:
    """The clip's crops with the cameras that the inversion refined."""
    return problem_of(run).seen_by(shown_inversion(run).cameras)
