"""Score a finished job against the truth of the synthetic clip that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.report.manifest import JobResult
from pipeline.samples.truth import Truth, load_truth
from pipeline.scoring import crop_metrics, frame_metrics
from pipeline.scoring.edit_metrics import edit_metrics

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
"""Names of a score's values; a value is None where the result has nothing to measure (docs/formats.md)."""

Score = dict[str, float | None]


def score(result: Path, sample: Path, identity: Path | None = None, lpips_net: str = "alex") -> Score:
    """Score the job in folder `result` against the truth of `sample`, the clip it was made from.

    A PSNR pools the pixels of all frames: of a removal those of the true occluder inside the true crop, of an
    edit those of the true crop. identity: file of a face recognition network (`pipeline.faces.identity`).
    lpips_net: network of LPIPS, which is None where its weights are not in the local cache. Raises UserError
    where something cannot be read or result and sample do not match, UnknownNameError for another network.
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
    source = frame_metrics.source_clip(job, sample)
    found: Score = dict.fromkeys(KEYS)
    found["psnr_reconstruction"] = _reconstruction(job)
    found |= crop_metrics.reconstruction(job, lpips_net)
    found["flicker_reconstruction"], found["flicker_lpips_reconstruction"] = (
        crop_metrics.flicker_of_reconstruction(job, lpips_net)
    )
    found["mask_iou"] = frame_metrics.mask_iou(job, truth)
    found["camera_median_deg"], found["camera_p95_deg"] = frame_metrics.camera_errors(job, truth)
    removal = frame_metrics.output(job, "removal")
    if removal is not None and truth.occluder is not None:
        found["psnr_removal"] = frame_metrics.psnr_in_mask(removal, truth)
        found["psnr_removal_of_input"] = None if source is None else frame_metrics.psnr_in_mask(source, truth)
    found["psnr_true_edit"] = frame_metrics.true_edit(job, truth)
    found["psnr_true_edit_occluded"] = frame_metrics.true_edit_occluded(job, truth)
    found["psnr_true_edit_rendered"] = frame_metrics.true_edit_rendered(job, truth)
    found["flicker_edit"], found["flicker_lpips_edit"] = crop_metrics.flicker_of_edit(job, truth, lpips_net)
    found["psnr_true_view"], found["psnr_true_view_of_input"] = frame_metrics.true_view(job, truth, source)
    found |= edit_metrics(job, truth, source)
    if embedder is not None:
        from pipeline.scoring.identity_metrics import identity_metrics

        found |= identity_metrics(job, truth, source, embedder)
    return found


def _check(manifest: Mapping[str, Any], truth: Truth) -> None:
    """Raise UserError unless the input has the sample's size, at most its frames, and none that repeat."""
    given = manifest["input"]
    size, total = (given["width"], given["height"]), manifest["frames"]["total"]
    if size != truth.size or total > truth.frames:
        raise UserError(
            f"the result is of {total} frames of {size[0]}x{size[1]}, but the sample {truth.folder} has "
            f"{truth.frames} of {truth.size[0]}x{truth.size[1]}; give the sample that the job was run on"
        )
    per_frame = manifest.get("per_frame")
    repeats = per_frame.get("repeats") if isinstance(per_frame, dict) else None
    if isinstance(repeats, list) and repeats != list(range(len(repeats))):
        raise UserError(
            "the job's clip has frames that repeat the one before; score compares clips of which every frame "
            "is one of the sample's"
        )


def _reconstruction(job: JobResult) -> float | None:
    """PSNR in dB of the reconstructed crops as the job has measured it, the mean over frames."""
    value = job.manifest["metrics"]["reconstruction"]["psnr"]
    return None if value is None else float(value)
