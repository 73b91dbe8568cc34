"""The flow `process-video`: the stages of a job as Prefect tasks.

Nothing is computed here. The cache decides what can be skipped, so the tasks keep nothing of their own:
Prefect's result cache would hold every array in memory, and returns a damaged one without a word.

    prefect deployment run process-video/default -p video=/clips/a.mp4 -p 'options=["--edit", "smile=1.5"]'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

from pipeline.cli import default_cache, process_arguments, settings_from
from pipeline.job import STAGES, Job
from pipeline.progress import Progress
from pipeline.validate import check_request, with_default_preset


class LoggedProgress(Progress):
    """Progress as lines of the run's log."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def finish(self, stage: str, seconds: float, cached: bool) -> None:
        """One line a stage."""
        self._log.info("%s: %s", stage, "from the cache" if cached else f"{seconds:.1f} s")

    def note(self, text: str) -> None:
        """What the user should know."""
        self._log.warning(text)


@task(cache_policy=NO_CACHE, persist_result=False)
def stage(job: Job, name: str) -> None:
    """One stage of a job."""
    job.step(name)


@flow(name="process-video", persist_result=False)
def process_video(
    video: Path, out: Path | None = None, cache: Path | None = None, options: list[str] | None = None
) -> dict[str, Any]:
    """Edit the face in a video; `options` are those of the command `process-video`. Returns the manifest."""
    args = process_arguments().parse_args([str(video), *(options or [])])
    settings = settings_from(args)
    out = out or args.out or Path("out") / video.stem
    check_request(video, out, settings)
    if args.preset is None:
        settings = with_default_preset(settings)
    job = Job(video, out, cache or args.cache or default_cache(), settings, LoggedProgress(get_run_logger()))
    for name in STAGES:
        stage.with_options(name=name)(quote(job), name)
    return job.manifest
