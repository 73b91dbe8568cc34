"""Metrics of edits by the judge: sign of the change of edited parameters, leakage into the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8
from pipeline.report.manifest import JobResult
from pipeline.samples.truth import Truth, frames_of
from pipeline.scoring.frame_metrics import the_true_edit
from pipeline.video.warp import warp_crop

READABLE = 0.5
"""Least correlation of the judge's reading with the truth for a parameter to count in the leakage."""

Edits = Sequence[Mapping[str, Any]]


def edit_metrics(job: JobResult, truth: Truth, source: Path | None) -> dict[str, float | None]:
    """Fraction of frames with the right sign, leakage, and leakage of the true edit for comparison.

    The judge compares crops with the edit to crops without: of the unoccluded face where the job has it.
    """
    found: dict[str, float | None] = dict.fromkeys(
        ("edit_sign_share", "edit_leakage", "edit_leakage_of_truth")
    )
    edits: Edits = job.manifest["settings"]["edit"]["edits"]
    edited, plain = job.array("edit/removal_edited/images"), job.array("edit/removal/images")
    unoccluded = edited is not None and plain is not None
    if not unoccluded:
        edited, plain = job.array("edit/edited/images"), job.shown("reconstruction")
    frames, affine = job.array("align/frames"), job.array("align/affine")
    if not edits or edited is None or plain is None or frames is None or affine is None:
        return found
    judge = _judge()
    if judge is None:
        return found
    change = judge.scores(edited) - judge.scores(plain)
    times = np.asarray(job.manifest["per_frame"]["time"], np.float64)
    seconds = times[frames] - times[0]
    found["edit_sign_share"] = _sign_share(change, edits, seconds)
    found["edit_leakage"] = _leakage(judge, change, edits, seconds)
    videos = _true_videos(edits, truth, unoccluded, source)
    if videos is not None:
        size = int(edited.shape[1])
        with_edit, without = (_crops(frames_of(v, truth.size), frames, affine, size) for v in videos)
        found["edit_leakage_of_truth"] = _leakage(
            judge, judge.scores(with_edit) - judge.scores(without), edits, seconds
        )
    return found


def _active(edit: Mapping[str, Any], seconds: F64) -> npt.NDArray[np.bool_]:
    """Mask [K] of the frames within an edit's time range."""
    active = np.ones(len(seconds), np.bool_)
    if edit.get("start") is not None:
        active &= seconds >= edit["start"]
    if edit.get("stop") is not None:
        active &= seconds <= edit["stop"]
    return active


def _sign_share(change: F32, edits: Edits, seconds: F64) -> float | None:
    """Fraction of frames, over all edits, in which the parameter changes in the direction of the edit."""
    names = _names()
    right = total = 0
    for edit in edits:
        name = _parameter(edit)
        if name not in names or not edit["strength"]:
            continue
        active = _active(edit, seconds)
        moved = change[active, names.index(name)] * float(edit["strength"])
        right, total = right + int((moved > 0).sum()), total + int(active.sum())
    return right / total if total else None


def _leakage(judge: Any, change: F32, edits: Edits, seconds: F64) -> float | None:
    """Mean absolute change, in standard deviations, of readable parameters that no edit is asked to move.

    Over the frames within an edit's time range; None where an edit is of no named parameter.
    """
    import torch

    from inverters.metrics import leakage

    names = _names()
    if any(_parameter(edit) not in names for edit in edits):
        return None
    active = np.logical_or.reduce([_active(edit, seconds) for edit in edits])
    columns = [k for k, name in enumerate(names) if judge.correlation[name] >= READABLE]
    asked = [columns.index(k) for k in {names.index(_parameter(e)) for e in edits} if k in columns]
    found = leakage(torch.from_numpy(change[active][:, columns]), asked)
    mean = float(found.nanmean())
    return mean if np.isfinite(mean) else None


def _true_videos(
    edits: Edits, truth: Truth, unoccluded: bool, source: Path | None
) -> tuple[Path, Path] | None:
    """True videos with the job's edit and without it; None where the truth has no such edit."""
    true = the_true_edit(edits, truth.edits)
    if true is None:
        return None
    if unoccluded or true.occluded is None:
        return true.clean, truth.clean
    return None if source is None else (true.occluded, source)


def _crops(video: Iterable[U8], frames: I64, affine: F64, size: int) -> U8:
    """Crops [K,size,size,3] of the frames with these indices [K], by the job's affines."""
    wanted = set(frames.tolist())
    return np.stack([warp_crop(f, affine[t], size) for t, f in enumerate(video) if t in wanted])


def _parameter(edit: Mapping[str, Any]) -> str:
    """Name of the edited parameter, without the name of the direction's file."""
    return str(edit["name"]).rpartition(".")[2]


def _names() -> list[str]:
    from inverters.people.params import PARAMETERS

    return [parameter.name for parameter in PARAMETERS]


def _judge() -> Any:
    """The judge, or None where its weights are missing."""
    from inverters.errors import CheckpointError
    from pipeline.scoring.judge import Judge

    try:
        return Judge()
    except CheckpointError:
        return None
