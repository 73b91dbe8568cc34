"""The flow `process-video`: the stages of a job as Prefect tasks.

Nothing is computed here. The cache decides what can be skipped, so the tasks keep nothing of their own:
Prefect's result cache would hold every array in memory, and returns a damaged one without a word.

    prefect deployment run process-video/default -p video=/clips/a.mp4 -p 'settings={"edit": ["smile=1.5"]}'
    prefect deployment run process-video/default -p video=/clips/a.mp4 -p 'options=["--edit", "smile=1.5"]'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_engine import TaskRunTimeoutError
from prefect.utilities.annotations import quote

from flows.artifacts import LoggedProgress, show_results
from flows.roots import request_of_run
from flows.submit import name_of
from pipeline.errors import InvidError
from pipeline.job.caches import default_cache
from pipeline.job.finished import already_done
from pipeline.job.walker import Job
from pipeline.request.checks import check_request, with_default_preset
from pipeline.stages.plan import plan_of


def run_name() -> str:
    """Of a run that was made without a name."""
    asked = flow_run.parameters
    return name_of(Path(str(asked["video"])), asked.get("options") or [], asked.get("settings"))


@task(cache_policy=NO_CACHE, persist_result=False)
def stage(job: Job, kind: str) -> None:
    """The stages of one kind of a job's plan."""
    job.step(kind)


@flow(name="process-video", flow_run_name=run_name, persist_result=False)
def process_video(
    video: Path,
    out: Path | None = None,
    cache: str | None = None,
    options: list[str] | None = None,
    timeouts: dict[str, float] | None = None,
    settings: dict[str, Any] | None = None,
) -> State[Any]:
    """Edit the face in a video.

    Args:
        video: the clip, as an absolute path, as all paths.
        out: folder for the results; counts more than that of the options. One of them must name it.
        cache: folder or URL of the cache; counts more than that of the options.
        options: words of the command `process-video`.
        settings: options as a mapping, such as {"edit": ["smile=1.5"], "preset": "fast"}; they count more.
        timeouts: seconds that a stage may take, by its name, such as {"invert": 7200}; no limit for others.

    Returns:
        Completed with the manifest. Failed, and not to be tried again, for bad input, which includes paths
        outside of INVID_ROOTS. A stage that takes too long fails its run.
    """
    log, limits = get_run_logger(), timeouts or {}
    try:
        request = request_of_run(video, out, cache, options, settings)
        chosen = request.settings
        kinds = plan_of(chosen).kinds
        if unknown := limits.keys() - set(kinds):
            listed = ", ".join(kinds)
            return Failed(message=f"timeouts: no stage is called {min(unknown)}; this plan has {listed}")
        out = request.out
        done = already_done(video, out, chosen, chosen.invert.preset if request.preset_chosen else None)
        if done is not None:
            log.info("%s holds the results of this very request already", out)
            return Completed(message="was done already", data=done)
        check_request(video, out, chosen)
        if not request.preset_chosen:
            chosen = with_default_preset(chosen)
        progress = LoggedProgress(log)
        place = request.cache or default_cache()
        job = Job(video, out, place, chosen, progress, threads=request.threads)
        with tags(video.name):
            for kind in job.plan.kinds:
                stage.with_options(name=kind, timeout_seconds=limits.get(kind))(quote(job), kind)
    except TaskRunTimeoutError:
        return Failed(message=f"{job.current} took longer than {limits[job.current]:g} s")
    except InvidError as error:
        return Failed(message=" ".join(str(error).split()))
    show_results(job)
    return Completed(message=f"results are in {out}", data=job.manifest)
