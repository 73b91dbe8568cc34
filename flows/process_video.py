"""The flow `process-video`: the stages of a job as Prefect tasks.

Nothing is computed here. The cache decides what can be skipped, so the tasks keep nothing of their own:
Prefect's result cache would hold every array in memory, and returns a damaged one without a word.

    prefect deployment run process-video/default -p video=/clips/a.mp4 -p out=/results/a \
        -p 'settings={"edit": ["smile=1.5"]}'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.runtime import flow_run
from prefect.states import Completed, Crashed
from prefect.task_engine import TaskRunTimeoutError
from prefect.utilities.annotations import quote

from flows.artifacts import LoggedProgress, show_figures, show_picture
from flows.parameters import SettingsForm, given
from flows.roots import request_of_run
from flows.run_page import begin_run, failed
from flows.submit import name_of
from pipeline.errors import InvidError
from pipeline.job.caches import default_cache
from pipeline.job.finished import already_done
from pipeline.job.forecast import frame_count, stage_forecasts
from pipeline.job.walker import Job
from pipeline.request.checks import check_request, with_default_preset
from pipeline.request.settings import Request
from pipeline.stages.plan import plan_of


def run_name() -> str:
    """The clip, and what is done to it."""
    asked = flow_run.parameters
    return name_of(Path(str(asked["video"])).name, asked.get("options") or [], given(asked.get("settings")))


@task(cache_policy=NO_CACHE, persist_result=False)
def stage(job: Job, kind: str) -> None:
    """The stages of one kind of a job's plan."""
    job.step(kind)


@flow(name="process-video", flow_run_name=run_name, persist_result=False)
def process_video(
    video: Path,
    out: Path,
    settings: SettingsForm = None,
    timeouts: dict[str, float] | None = None,
    cache: str | None = None,
    options: list[str] | None = None,
) -> State[Any]:
    """Edit the face in a video.

    Args:
        video: The clip, by its absolute path.
        out: Folder for the results, by its absolute path. It counts more than that of the options.
        settings: Options of the command process-video; what is left empty keeps its default.
        timeouts: Seconds that a stage may take, by its name, such as {"invert": 7200}; no limit for others.
        cache: Folder or URL of the cache, instead of the worker's own.
        options: For scripts: words of the command process-video; settings count more.

    Returns:
        Completed with the manifest. Failed, and not to be tried again, for bad input, which includes paths
        outside of INVID_ROOTS. A stage that takes too long fails its run.
    """
    log, limits = get_run_logger(), timeouts or {}
    begin_run(video.name)
    job: Job | None = None
    try:
        request = request_of_run(video, out, cache, options, settings)
        kinds = plan_of(request.settings).kinds
        if unknown := limits.keys() - set(kinds):
            listed = ", ".join(kinds)
            return failed(f"timeouts: no stage is called {min(unknown)}; this plan has {listed}")
        preset = request.settings.invert.preset if request.preset_chosen else None
        done = already_done(video, out, request.settings, preset)
        if done is not None:
            log.info("%s holds the results of this very request already", out)
            show_figures(video.name, out, done)
            return Completed(message="was done already", data=done)
        job = _job(request, out, LoggedProgress(log, video.name))
        whole: Any = quote(job)  # a task is called with what is quoted
        # Without tags: Prefect asks the server for a slot for each tag, and fails the run while it is down.
        for kind in job.plan.kinds:
            named = stage.with_options(name=kind, task_run_name=kind, timeout_seconds=limits.get(kind))
            named(whole, kind)
        show_picture(job)
        show_figures(video.name, out, job.manifest)
    except TaskRunTimeoutError:
        late = job.current if job is not None else ""
        return failed(f"{late} took longer than {limits[late]:g} s")
    except (HTTPError, ConcurrencySlotAcquisitionError) as error:
        return Crashed(message=f"The server could not be reached ({type(error).__name__}).")
    except InvidError as error:
        return failed(error)
    return Completed(message=f"results are in {out}", data=job.manifest)


def _job(request: Request, out: Path, progress: LoggedProgress) -> Job:
    """The job, checked, with the seconds that its stages are expected to take. Raises UserError."""
    video, chosen = request.video, request.settings
    check_request(video, out, chosen)
    if not request.preset_chosen:
        chosen = with_default_preset(chosen)
    place = request.cache or default_cache()
    job = Job(video, out, place, chosen, progress, threads=request.threads)
    frames = frame_count(video, chosen.decode.max_frames)
    device, root = job.models.device, job.cache.root
    stages = stage_forecasts(job.plan, job.keys, job.settings, device, frames, root)
    progress.expect(job.plan.kinds, stages)
    return job
