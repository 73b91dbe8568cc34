"""Time line of a report: runs of frames with one status and its reason, and axes in frames and seconds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.clip import Reason, Status
from pipeline.report.charts import Tick, round_step
from pipeline.report.values import finite, listing, mapping, number_text

MOST_LISTED = 200
"""Runs written out below the time line; beyond that many the page says how many there are."""

_MARKS = 8


@dataclass(frozen=True)
class Run:
    """Frames [start, stop) that share a status; `seconds` is the same in words, "" if unknown."""

    status: int
    start: int
    stop: int
    reason: str
    seconds: str

    @property
    def frames(self) -> str:
        """`frame 3` or `frames 3 to 8`."""
        last = self.stop - 1
        return f"frame {self.start}" if last == self.start else f"frames {self.start} to {last}"


@dataclass(frozen=True)
class Kind:
    """A line of the legend."""

    status: int
    reason: str
    count: int
    share: float


@dataclass(frozen=True)
class Timeline:
    """Everything the time line shows."""

    total: int
    runs: list[Run]
    legend: list[Kind]
    frame_ticks: list[Tick]
    second_ticks: list[Tick]


def timeline(manifest: Mapping[str, Any]) -> Timeline | None:
    """The time line of a job's manifest; None where it names no frames."""
    per_frame = mapping(manifest.get("per_frame"))
    status = [int(value) if finite(value) is not None else -1 for value in listing(per_frame.get("status"))]
    if not status:
        return None
    times = frame_times(manifest)
    reasons = _reasons(manifest)
    said = [str(value) if value else "" for value in listing(per_frame.get("reason"))]
    if len(said) != len(status):
        said = [""] * len(status)
    if set(said) - {"", Reason.NO_FACE.said}:
        reasons[int(Status.NO_FACE)] = "not edited: frame passed through untouched"
    known = [int(kind) for kind in (Status.FOUND, Status.INTERPOLATED, Status.NO_FACE)]
    legend = [
        Kind(kind, reasons.get(kind, "unknown"), count, 100 * count / len(status))
        for kind in [*known, *sorted(set(status) - set(known))]
        if (count := status.count(kind)) or kind in known
    ]
    return Timeline(
        len(status),
        _runs(status, said, times, reasons),
        legend,
        _frame_ticks(len(status)),
        _second_ticks(times, len(status)),
    )


def frame_times(manifest: Mapping[str, Any]) -> list[float]:
    """Seconds of every frame, increasing; [] where the manifest does not have them for all frames."""
    per_frame = mapping(manifest.get("per_frame"))
    times = [finite(value) for value in listing(per_frame.get("time"))]
    known = [value for value in times if value is not None]
    increasing = all(a < b for a, b in itertools.pairwise(known))
    return known if len(known) == len(times) and increasing else []


def _reasons(manifest: Mapping[str, Any]) -> dict[int, str]:
    """What each status means, in words."""
    track = mapping(mapping(manifest.get("settings")).get("track"))
    gap = finite(track.get("max_gap"))
    lost = "face lost for a short time" if gap is None else f"face lost for at most {number_text(gap)} s"
    return {
        int(Status.FOUND): "found",
        int(Status.INTERPOLATED): f"{lost}: landmarks interpolated",
        int(Status.NO_FACE): "no face: frame passed through untouched",
    }


def _runs(
    status: Sequence[int], said: Sequence[str], times: Sequence[float], reasons: Mapping[int, str]
) -> list[Run]:
    """Runs of frames with one status and one reason, `said` or else that of the status."""
    runs, start = [], 0
    for i in range(1, len(status) + 1):
        if i == len(status) or (status[i], said[i]) != (status[start], said[start]):
            reason = reasons.get(status[start], "unknown")
            if said[start] and status[start] == Status.NO_FACE:
                reason = f"{said[start]}: frame passed through untouched"
            runs.append(Run(status[start], start, i, reason, _span(times, start, i)))
            start = i
    return runs


def _span(times: Sequence[float], start: int, stop: int) -> str:
    """Seconds from the first to the last frame of a run."""
    if len(times) < stop:
        return ""
    first, last = f"{times[start]:.2f}", f"{times[stop - 1]:.2f}"
    return f"{first} s" if first == last else f"{first} to {last} s"


def _frame_ticks(total: int) -> list[Tick]:
    """Marks at the middle of frames with round numbers."""
    step = max(1, round(round_step(total / _MARKS)))
    return [Tick(100 * (i + 0.5) / total, str(i)) for i in range(0, total, step)]


def _second_ticks(times: Sequence[float], total: int) -> list[Tick]:
    """Marks at round numbers of seconds, placed between the frames shown before and after."""
    if len(times) != total or total < 2:
        return []
    step = round_step((times[-1] - times[0]) / _MARKS)
    digits = len(f"{step:.6f}".rstrip("0").partition(".")[2])
    ticks, frame = [], 0
    for k in range(int(times[0] // step), int(times[-1] // step) + 1):
        second = k * step
        if second < times[0] - 1e-9:
            continue
        while frame + 2 < total and times[frame + 1] <= second:
            frame += 1
        share = (second - times[frame]) / (times[frame + 1] - times[frame])
        ticks.append(Tick(100 * (frame + share + 0.5) / total, f"{second:.{digits}f}"))
    return ticks
