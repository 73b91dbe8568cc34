"""`invid score`: how near a result comes to the truth of a sample clip."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clip import U8
from pipeline.errors import UserError
from pipeline.manifest import JobResult
from pipeline.stages.camera import rotation_errors
from pipeline.truth import Truth, frames_of, inside, load_truth
from pipeline.video.warp import warp_back

KEYS = (
    "psnr_reconstruction",
    "mask_iou",
    "psnr_removal",
    "psnr_removal_of_input",
    "psnr_true_edit",
    "camera_median_deg",
    "camera_p95_deg",
    "edit_sign_share",
)
"""What a score holds, each a number or None where the result has no such thing (docs/formats.md)."""

BLEND_LEVEL = 0.5
"""A pixel is the occluder's where the blend is above this."""
_BEST_PSNR = 100.0
"""Decibels given to equal pictures, whose PSNR has no finite value."""

Score = dict[str, float | None]


def score(result: Path, sample: Path) -> Score:
    """Compare a finished job's folder with the truth of the sample it was made from.

    Pixels are pooled over all frames before a PSNR is taken; a removal is measured on the true occluder's
    pixels inside the true crop, an edit on the whole true crop. Raises UserError where either cannot be read,
    or where they do not belong together.
    """
    job = JobResult(result)
    truth = load_truth(sample)
    _check(job.manifest, truth)
    found: Score = dict.fromkeys(KEYS)
    found["psnr_reconstruction"] = _reconstruction(job)
    found["mask_iou"] = _mask_iou(job, truth)
    found["camera_median_deg"], found["camera_p95_deg"] = _camera_errors(job, truth)
    removal = _output(job, "removal")
    if removal is not None and truth.occluder is not None:
        found["psnr_removal"] = _psnr_in_mask(removal, truth)
        source = Path(str(job.manifest["input"]["path"]))
        source = source if source.is_file() else _sample_video(sample)
        found["psnr_removal_of_input"] = _psnr_in_mask(source, truth) if source.is_file() else None
    found["psnr_true_edit"] = _true_edit(job, truth)
    found["edit_sign_share"] = _edit_sign_share(job)
    return found


def _check(manifest: Mapping[str, Any], truth: Truth) -> None:
    """Raise UserError unless the job's input has the sample's size and no more than its frames."""
    given = manifest["input"]
    size, total = (given["width"], given["height"]), manifest["frames"]["total"]
    if size != truth.size or total > truth.frames:
        raise UserError(
            f"the result is of {total} frames of {size[0]}x{size[1]}, but the sample {truth.folder} has "
            f"{truth.frames} of {truth.size[0]}x{truth.size[1]}; give the sample that the job was run on"
        )


def _sample_video(sample: Path) -> Path:
    """The clip of a sample given as its video or the folder beside it."""
    folder = sample.parent if sample.name == "truth.json" else sample
    return folder.with_suffix(".mp4")


def _output(job: JobResult, name: str) -> Path | None:
    """An output of the job, or None where it has none; names that lead out of its folder do not count."""
    value = job.manifest["outputs"].get(name)
    if not isinstance(value, str):
        return None
    root = job.out.resolve()
    path = (root / value).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def psnr_of(error: float, count: int) -> float | None:
    """PSNR in dB of a sum of squared errors of 8-bit levels over `count` values; None without values."""
    if count == 0:
        return None
    mean = error / count
    return min(_BEST_PSNR, 10 * math.log10(255.0**2 / mean)) if mean > 0 else _BEST_PSNR


def _reconstruction(job: JobResult) -> float | None:
    """PSNR of the reconstructed crops: the mean over frames that the job has measured."""
    value = job.manifest["metrics"]["reconstruction"]["psnr"]
    return None if value is None else float(value)


def _mask_iou(job: JobResult, truth: Truth) -> float | None:
    """Agreement of the blend above one half with the true mask, over all pixels of the result's crops."""
    blend, affine, frames = (job.array(n) for n in ("finetune/blend", "align/affine", "align/frames"))
    if blend is None or affine is None or frames is None or truth.occluder is None:
        return None
    size = _crop_size(job)
    width, height = truth.size
    both = either = 0
    for row, frame in enumerate(frames.tolist()):
        maps = np.asarray(blend[row], np.float32)
        scaled = affine[frame] * (maps.shape[0] / size)
        seen = warp_back(maps, scaled, (0, 0, width, height), padding="zeros", antialias=False) > BLEND_LEVEL
        within = inside(affine[frame], size, width, height)
        true = truth.occluded(frame) & within
        both += int((seen & true).sum())
        either += int(((seen & within) | true).sum())
    return both / either if either else None


def _crop_size(job: JobResult) -> int:
    """Width of the result's crops in pixels."""
    crops = job.array("finetune/reconstruction")
    if crops is None:
        raise UserError(f"{job.out}: its cache holds no reconstruction; run the job again")
    return int(crops.shape[1])


def _camera_errors(job: JobResult, truth: Truth) -> tuple[float | None, float | None]:
    """Median and 95th percentile in degrees of the angle between the rotation used and the true one."""
    cameras, refined, frames = (
        job.array(n) for n in ("camera/cam2world", "invert/inversion.cameras.cam2world", "align/frames")
    )
    if cameras is None:
        return None, None
    if refined is not None and frames is not None:
        cameras[frames] = refined
    errors = rotation_errors(cameras, truth.cam2world[: len(cameras)])
    errors = errors[np.isfinite(errors)]
    if len(errors) == 0:
        return None, None
    return float(np.median(errors)), float(np.percentile(errors, 95))


def _psnr_in_mask(video: Path, truth: Truth) -> float | None:
    """PSNR of a video against the true clean frames, on the occluder's pixels inside the true crop."""
    error, count = 0.0, 0
    pairs = zip(frames_of(video, truth.size), frames_of(truth.clean, truth.size), strict=False)
    for frame, (seen, clean) in enumerate(pairs):
        chosen = truth.occluded(frame) & truth.inside_crop(frame)
        error += _squares(seen[chosen], clean[chosen])
        count += int(chosen.sum()) * 3
    return psnr_of(error, count)


def _squares(one: U8, two: U8) -> float:
    """Sum of squared differences of 8-bit levels."""
    return float(np.square(one.astype(np.float64) - two).sum())


def _true_edit(job: JobResult, truth: Truth) -> float | None:
    """PSNR inside the true crop against the frames in which the one edit of the job was really made."""
    edits = job.manifest["settings"]["edit"]["edits"]
    if len(edits) != 1 or edits[0].get("start") is not None or edits[0].get("stop") is not None:
        return None
    true = truth.edits.get(edits[0]["name"])
    if true is None or abs(true.strength - float(edits[0]["strength"])) > 1e-6:
        return None
    video, target = _output(job, "removal_edited"), true.clean
    if video is None:
        video, target = _output(job, "edited"), true.occluded or true.clean
    if video is None:
        return None
    error, count = 0.0, 0
    pairs = zip(frames_of(video, truth.size), frames_of(target, truth.size), strict=False)
    for frame, (seen, wanted) in enumerate(pairs):
        chosen = truth.inside_crop(frame)
        error += _squares(seen[chosen], wanted[chosen])
        count += int(chosen.sum()) * 3
    return psnr_of(error, count)


def _edit_sign_share(job: JobResult) -> float | None:
    """Share of frames, over all edits, in which the judge sees the parameter move the way it was asked to.

    Pictures with the edit are judged against those without: of the unoccluded face where the job has it.
    """
    edits = job.manifest["settings"]["edit"]["edits"]
    edited, plain = job.array("edit/removal_edited/images"), job.array("edit/removal/images")
    if edited is None or plain is None:
        edited, plain = job.array("edit/edited/images"), job.array("finetune/reconstruction")
    frames = job.array("align/frames")
    judge = _judge()
    if not edits or edited is None or plain is None or frames is None or judge is None:
        return None
    from inverters.heads.params import PARAMETERS

    names = [parameter.name for parameter in PARAMETERS]
    moved = judge.scores(edited) - judge.scores(plain)
    times = np.asarray(job.manifest["per_frame"]["time"], np.float64)
    seconds = times[frames] - times[0]
    right = total = 0
    for edit in edits:
        if edit["name"] not in names or not edit["strength"]:
            continue
        active = np.ones(len(seconds), np.bool_)
        if edit.get("start") is not None:
            active &= seconds >= edit["start"]
        if edit.get("stop") is not None:
            active &= seconds <= edit["stop"]
        change = moved[active, names.index(edit["name"])] * float(edit["strength"])
        right, total = right + int((change > 0).sum()), total + int(active.sum())
    return right / total if total else None


def _judge() -> Any:
    """The judge of edits, or None where its weights are not there."""
    from inverters.errors import CheckpointError
    from pipeline.judge import Judge

    try:
        return Judge()
    except CheckpointError:
        return None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `invid score`."""
    add = parser.add_argument
    add("result", type=Path, metavar="RESULT", help="the --out folder of a finished job")
    add("--truth", type=Path, required=True, metavar="SAMPLE", help="the clip that `invid sample` wrote")
    add("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """`invid score`: print the score to standard output; returns the exit code 0."""
    found = score(arguments.result, arguments.truth)
    if arguments.json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return 0
    for name, value in found.items():
        print(f"{name:<24}{'-' if value is None else format(value, '.3f')}")
    return 0
