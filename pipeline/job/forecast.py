"""Forecast of a job: its stages, which of them are in the cache, and what the others are expected to cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.job.caches import place_of
from pipeline.job.costs import CostBook, estimate, like, units_of
from pipeline.request.checks import definite
from pipeline.request.settings import Settings
from pipeline.stages.facts import Facts, Models
from pipeline.stages.plan import Keys, Plan, plan_of
from pipeline.video.container import open_video, video_stream
from pipeline.video.sequences import picture_files
from storage import is_published


@dataclass(frozen=True)
class StageForecast:
    """One stage of a plan."""

    name: str
    key: str
    """Its cache key; empty where nothing is cached."""
    cached: bool
    seconds: float | None
    """Expected seconds, 0 for a cached stage; None where no such stage has run on this machine."""
    mib: float | None
    """Expected peak of the process's resident memory in MiB; None likewise, and for cached stages."""
    runs: int
    """Earlier runs that the estimate is made of."""


@dataclass(frozen=True)
class Forecast:
    """A whole job. `frames` is what the file's header says, and may be wrong."""

    frames: int
    stages: tuple[StageForecast, ...]

    @property
    def seconds(self) -> float:
        """Expected seconds of the stages that have an estimate."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def mib(self) -> float | None:
        """Expected peak of memory in MiB of the stages that have an estimate; None where none has."""
        return max((stage.mib for stage in self.stages if stage.mib is not None), default=None)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Stages that will run and have no estimate."""
        return tuple(stage.name for stage in self.stages if stage.seconds is None)


def forecast(
    video: Path, settings: Settings, cache: Path | str | None, note: Callable[[str], None] | None = None
) -> Forecast:
    """Plan a job without running it; writes nothing. Costs are those measured by earlier jobs (`costs`).

    cache: as for a job; of a shared store the copy on this machine is looked at.
    Raises UserError for an input or an edit that a job would refuse.
    """
    settings = definite(settings, video)
    frames = frame_count(video, settings.decode.max_frames)
    models = Models(settings, note)
    _ = models.directions  # names an edit that is not known
    plan = plan_of(settings)
    keys = Keys(plan, Facts(video, settings, models))
    return Forecast(frames, stage_forecasts(plan, keys, settings, models.device, frames, place_of(cache)))


def stage_forecasts(
    plan: Plan, keys: Keys, settings: Settings, device: str, frames: int, root: Path
) -> tuple[StageForecast, ...]:
    """The stages of a plan by what the cache at `root` has, and by the costs of earlier jobs there."""
    costs = CostBook(root).read()
    found = []
    for stage in plan:
        key = keys[stage.name] if stage.compute is not None else ""
        cached = bool(key) and is_published(root, key)
        name, units = like(stage, settings, device), units_of(stage, settings, frames)
        cost = estimate(costs, name, units)
        found.append(
            StageForecast(
                name=stage.name,
                key=key,
                cached=cached,
                seconds=0.0 if cached else None if cost is None else cost.seconds,
                mib=None if cached or cost is None else cost.mib,
                runs=cost.runs if cost else 0,
            )
        )
    return tuple(found)


def frame_count(video: Path, most: int | None) -> int:
    """Frames by the file's header: its count, else duration times rate; at least 1, at most `most`."""
    files = picture_files(video)
    if files is not None:
        return len(files[:most])
    with open_video(video) as container:
        stream = video_stream(container, video)
        count = stream.frames
        if not count and stream.average_rate:
            seconds = (container.duration or 0) / 1e6
            if stream.duration and stream.time_base:
                seconds = float(stream.duration * stream.time_base)
            count = round(seconds * float(stream.average_rate))
    count = max(count, 1)
    return count if most is None else min(count, most)
