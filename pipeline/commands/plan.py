"""`invid plan`: what a job would do, what of it is in the cache, and what the rest is expected to cost."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.guard import say
from pipeline.request.options import Given, request_of

if TYPE_CHECKING:
    from pipeline.job.forecast import Forecast, StageForecast


def run(video: Path, /, *, given: Given) -> int:
    """Show what process-video would do with the same options, without doing it.

    Seconds and memory are those of earlier jobs with the same cache on this machine, fitted over the number
    of frames. A stage that has never run here has no estimate.

    example: invid plan clip.mp4 --edit smile=1.5 --json

    Args:
        video: A video, a picture, or a sequence of pictures: its folder, or shot.####.png.
        given: Options of a request.
    """
    from pipeline.job.finished import already_done
    from pipeline.job.forecast import forecast
    from pipeline.request.checks import check_request, with_default_preset

    request = request_of(video, given)
    preset = request.settings.invert.preset if request.preset_chosen else None
    done = already_done(video, request.out, request.settings, preset) is not None
    check_request(video, request.out, request.settings)
    settings = request.settings if request.preset_chosen else with_default_preset(request.settings)
    notes: list[str] = []
    found = forecast(video, settings, request.cache, notes.append)
    for text in notes:
        say(f"note: {text}", sys.stderr)
    if request.json:
        print(json.dumps(as_json(found, video, done), indent=1))
    else:
        print("\n".join(table(found, done)))
    return 0


def as_json(found: Forecast, video: Path, done: bool) -> dict[str, Any]:
    """The forecast as JSON values; `done`: the output folder holds the results already."""
    return {
        "video": str(video),
        "done": done,
        "frames": found.frames,
        "seconds": round(found.seconds, 2),
        "mib": found.mib,
        "unknown": list(found.unknown),
        "stages": [asdict(stage) for stage in found.stages],
    }


def table(found: Forecast, done: bool) -> list[str]:
    """The forecast as lines."""
    from pipeline.job.progress import clock

    width = max(len(stage.name) for stage in found.stages) + 2
    rows = [f"{'stage':<{width}}{'':<10}{'time':>9}{'memory':>11}   measured in"]
    rows += [_row(stage, width) for stage in found.stages]
    total = f"{found.frames} frames: about {clock(found.seconds)}"
    if found.mib is not None:
        total += f", up to {found.mib / 1024:.1f} GiB"
    if found.unknown:
        total += f"; not counted, as they never ran here: {', '.join(found.unknown)}"
    rows += ["", total]
    if done:
        rows.append("nothing to do: the results of this very request are there already")
    return rows


def _row(stage: StageForecast, width: int) -> str:
    from pipeline.job.progress import clock

    if stage.cached:
        return f"{stage.name:<{width}}{'cached':<10}"
    if stage.seconds is None:
        return f"{stage.name:<{width}}{'runs':<10}{'?':>9}{'?':>11}"
    time = clock(stage.seconds) if stage.seconds >= 1 else f"{stage.seconds:.1f} s"
    memory = "?" if stage.mib is None else f"{stage.mib:.0f} MiB"
    runs = "1 run" if stage.runs == 1 else f"{stage.runs} runs"
    return f"{stage.name:<{width}}{'runs':<10}{time:>9}{memory:>11}   {runs}"
