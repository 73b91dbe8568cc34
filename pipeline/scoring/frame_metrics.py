"""Metrics of frames and cameras against the truth: masks, removals, edits, novel views."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clip import U8
from pipeline.errors import UserError
from pipeline.report.manifest import JobResult
from pipeline.samples.truth import TrueEdit, TrueView, Truth, frames_of, inside
from pipeline.video.warp import warp_back, warp_crop

BLEND_LEVEL = 0.5
"""Blend above which a pixel counts as the occluder's."""
BEST_PSNR = 100.0
"""PSNR in dB reported for equal pictures, whose PSNR is infinite."""


def output(job: JobResult, name: str) -> Path | None:
    """Path of an output of the job; None where it has none, or the name leads out of the job's folder."""
    value = job.manifest["outputs"].get(name)
    if not isinstance(value, str):
        return None
    root = job.out.resolve()
    path = (root / value).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def source_clip(job: JobResult, sample: Path) -> Path | None:
    """The clip that the job read, else the sample's; None where neither exists."""
    folder = sample.parent if sample.name == "truth.json" else sample
    candidates = (Path(str(job.manifest["input"]["path"])), folder.with_suffix(".mp4"))
    return next((path for path in candidates if path.is_file()), None)


def psnr_of(error: float, count: int) -> float | None:
    """PSNR in dB from the sum of squared errors of `count` 8-bit values; None without values."""
    if count == 0:
        return None
    mean = error / count
    return min(BEST_PSNR, 10 * math.log10(255.0**2 / mean)) if mean > 0 else BEST_PSNR


def mask_iou(job: JobResult, truth: Truth) -> float | None:
    """IoU of blend > 0.5 with the true mask, over all pixels of the result's crops."""
    blend, affine, frames = job.shown("blend"), job.array("align/affine"), job.array("align/frames")
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
    """Side of the result's crops in pixels."""
    crops = job.shown("reconstruction")
    if crops is None:
        raise UserError(f"{job.out}: its cache holds no reconstruction; run the job again")
    return int(crops.shape[1])


def camera_errors(job: JobResult, truth: Truth) -> tuple[float | None, float | None]:
    """Median and 95th percentile in degrees of the angle between estimated and true camera rotations."""
    import torch

    from inverters.metrics import rotation_error_deg

    cameras, refined, frames = (
        job.array(n) for n in ("camera/cam2world", "invert/inversion.cameras.cam2world", "align/frames")
    )
    if cameras is None:
        return None, None
    if refined is not None and frames is not None:
        cameras[frames] = refined
    true = truth.cam2world[: len(cameras)]
    errors = rotation_error_deg(torch.from_numpy(cameras), torch.from_numpy(true)).numpy()
    errors = errors[np.isfinite(errors)]
    if len(errors) == 0:
        return None, None
    return float(np.median(errors)), float(np.percentile(errors, 95))


def psnr_in_mask(video: Path, truth: Truth) -> float | None:
    """PSNR in dB of a video against the true clean frames, on the occluder's pixels inside the true crop."""
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


def the_true_edit(edits: Sequence[Mapping[str, Any]], known: Mapping[str, TrueEdit]) -> TrueEdit | None:
    """The truth of a job's edit; None unless it is one edit, of the whole clip, at the truth's strength."""
    if len(edits) != 1 or edits[0].get("start") is not None or edits[0].get("stop") is not None:
        return None
    true = known.get(edits[0]["name"])
    if true is None or abs(true.strength - float(edits[0]["strength"])) > 1e-6:
        return None
    return true


def edited_pair(job: JobResult, truth: Truth) -> tuple[Path, Path] | None:
    """The job's edited video and the true one, without the occluder where the job removes it."""
    true = the_true_edit(job.manifest["settings"]["edit"]["edits"], truth.edits)
    if true is None:
        return None
    without, behind = output(job, "removal_edited"), output(job, "edited")
    if without is not None:
        return without, true.clean
    return None if behind is None else (behind, true.occluded or true.clean)


def true_edit(job: JobResult, truth: Truth) -> float | None:
    """PSNR in dB of the job's edited video against the true edit, inside the true crop."""
    pair = edited_pair(job, truth)
    return None if pair is None else _psnr_in_crop(pair, truth)


def true_edit_occluded(job: JobResult, truth: Truth) -> float | None:
    """PSNR in dB of the edited video with the occluder, against the true edit behind it."""
    true = _occluded_edit(job, truth)
    behind = output(job, "edited")
    return None if true is None or behind is None else _psnr_in_crop((behind, true), truth)


def true_edit_rendered(job: JobResult, truth: Truth) -> float | None:
    """PSNR in dB of the edited crops as rendered, with the occluder, against crops of the true edit.

    They contain nothing of the source. This is what papers report that do not composite into frames.
    """
    true = _occluded_edit(job, truth)
    images, affine, frames = (job.array(n) for n in ("edit/edited/images", "align/affine", "align/frames"))
    if true is None or images is None or affine is None or frames is None:
        return None
    rows = {int(frame): row for row, frame in enumerate(frames.tolist())}
    error, count = 0.0, 0
    for frame, wanted in enumerate(frames_of(true, truth.size)):
        if frame in rows:
            seen = images[rows[frame]]
            error += _squares(seen, warp_crop(wanted, affine[frame], seen.shape[0]))
            count += seen.size
    return psnr_of(error, count)


def _occluded_edit(job: JobResult, truth: Truth) -> Path | None:
    """The true video of the job's edit, behind the occluder where there is one."""
    true = the_true_edit(job.manifest["settings"]["edit"]["edits"], truth.edits)
    return None if true is None else true.occluded or true.clean


def _psnr_in_crop(pair: tuple[Path, Path], truth: Truth) -> float | None:
    """PSNR in dB of two videos inside the true crop."""
    error, count = 0.0, 0
    pairs = zip(*(frames_of(path, truth.size) for path in pair), strict=False)
    for frame, (seen, wanted) in enumerate(pairs):
        chosen = truth.inside_crop(frame)
        error += _squares(seen[chosen], wanted[chosen])
        count += int(chosen.sum()) * 3
    return psnr_of(error, count)


def true_view(job: JobResult, truth: Truth, source: Path | None) -> tuple[float | None, float | None]:
    """PSNR in dB of the job's novel view, and of its input, against the true frames of that view.

    Rendered crops are warped back into the frame by the affine of their crop: the pivot of the rotation stays
    where it is in the picture. Measured on the pixels inside both this crop and the true one.
    """
    images, affine, frames = (job.array(n) for n in ("edit/view/images", "align/affine", "align/frames"))
    target = _view_video(job.manifest["settings"]["edit"], truth)
    if images is None or affine is None or frames is None or target is None:
        return None, None
    rows = {int(frame): row for row, frame in enumerate(frames.tolist())}
    size = images.shape[1]
    width, height = truth.size
    errors, count = [0.0, 0.0], 0
    inputs = None if source is None else frames_of(source, truth.size)
    for frame, wanted in enumerate(frames_of(target, truth.size)):
        given = None if inputs is None else next(inputs, None)
        if frame not in rows:
            continue
        back = warp_back(images[rows[frame]], affine[frame], (0, 0, width, height))
        seen = np.clip(np.rint(back), 0, 255).astype(np.uint8)
        chosen = truth.inside_crop(frame) & inside(affine[frame], size, width, height)
        errors[0] += _squares(seen[chosen], wanted[chosen])
        errors[1] += math.nan if given is None else _squares(given[chosen], wanted[chosen])
        count += int(chosen.sum()) * 3
    return psnr_of(errors[0], count), None if math.isnan(errors[1]) else psnr_of(errors[1], count)


def _view_video(asked: Mapping[str, Any], truth: Truth) -> Path | None:
    """The true video of a job's view; None where the truth has no such view or edit."""
    view = asked.get("view")
    if view is None or view.get("orbit"):
        return None
    angles = float(view["yaw"]), float(view["pitch"])
    seen: TrueView | TrueEdit | None = next(
        (v for v in truth.views if np.allclose((v.yaw, v.pitch), angles, rtol=0, atol=1e-6)), None
    )
    if isinstance(seen, TrueView) and asked["edits"]:
        seen = the_true_edit(asked["edits"], seen.edits)
    if seen is None:
        return None
    return seen.clean if asked["remove_occluder"] else seen.occluded or seen.clean
