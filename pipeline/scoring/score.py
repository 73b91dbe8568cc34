"""Scores: how near a result comes to the truth of a synthetic clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.report.manifest import JobResult
from pipeline.samples.truth import Truth, load_truth
from pipeline.scoring import crops, frames
from pipeline.scoring.judged import judged

KEYS = (
    "psnr_reconstruction",
    "mask_iou",
    "psnr_removal",
    "psnr_removal_of_input",
    "psnr_true_edit",
    "psnr_true_edit_occluded",
    "psnr_true_edit_rendered",
    "camera_median_deg",
    "camera_p95_deg",
    "edit_sign_share",
    "ssim_reconstruction",
    "ms_ssim_reconstruction",
    "lpips_reconstruction",
    "psnr_true_view",
    "psnr_true_view_of_input",
    "edit_leakage",
    "edit_leakage_of_truth",
    "flicker_reconstruction",
    "flicker_lpips_reconstruction",
    "flicker_edit",
    "flicker_lpips_edit",
    "identity_reconstruction",
    "identity_edit",
    "tl_id",
    "tg_id",
)
"""What a score holds, each a number or None where the result has no such thing (docs/formats.md)."""

Score = dict[str, float | None]


def score(result: Path, sample: Path, identity: Path | None = None, lpips_net: str = "alex") -> Score:
    """Compare a finished job's folder with the truth of the sample it was made from.

    Pixels are pooled over all frames before a PSNR is taken; a removal is measured on the true occluder's
    pixels inside the true crop, an edit on the whole true crop. identity: a network that tells faces apart
    (`pipeline.faces.identity`). lpips_net: the network of LPIPS; where its weights are not in the local cache
    there is no LPIPS. Raises UserError where something cannot be read, or where it does not belong together,
    and UnknownNameError for another network.
    """
    from inverters.fitting.losses import lpips_weights

    lpips_weights(lpips_net)
    embedder = None
    if identity is not None:
        from pipeline.faces.identity import load_embedder

        embedder = load_embedder(identity)
    job = JobResult(result)
    truth = load_truth(sample)
    _check(job.manifest, truth)
    source = frames.source_clip(job, sample)
    found: Score = dict.fromkeys(KEYS)
    found["psnr_reconstruction"] = _reconstruction(job)
    found |= crops.reconstruction(job, lpips_net)
    found["flicker_reconstruction"], found["flicker_lpips_reconstruction"] = crops.flicker_of_reconstruction(
        job, lpips_net
    )
    found["mask_iou"] = frames.mask_iou(job, truth)
    found["camera_median_deg"], found["camera_p95_deg"] = frames.camera_errors(job, truth)
    removal = frames.output(job, "removal")
    if removal is not None and truth.occluder is not None:
        found["psnr_removal"] = frames.psnr_in_mask(removal, truth)
        found["psnr_removal_of_input"] = None if source is None else frames.psnr_in_mask(source, truth)
    found["psnr_true_edit"] = frames.true_edit(job, truth)
    found["psnr_true_edit_occluded"] = frames.true_edit_occluded(job, truth)
    found["psnr_true_edit_rendered"] = frames.true_edit_rendered(job, truth)
    found["flicker_edit"], found["flicker_lpips_edit"] = crops.flicker_of_edit(job, truth, lpips_net)
    found["psnr_true_view"], found["psnr_true_view_of_input"] = frames.true_view(job, truth, source)
    found |= judged(job, truth, source)
    if embedder is not None:
        from pipeline.scoring.identity import identity as identities

        found |= identities(job, truth, source, embedder)
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


def _reconstruction(job: JobResult) -> float | None:
    """PSNR of the reconstructed crops: the mean over frames that the job has measured."""
    value = job.manifest["metrics"]["reconstruction"]["psnr"]
    return None if value is None else float(value)
