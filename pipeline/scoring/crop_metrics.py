"""Metrics of crops: similarity of the reconstruction to the input, and temporal flicker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clip import U8
from pipeline.report.manifest import JobResult
from pipeline.samples.truth import Truth, frames_of
from pipeline.scoring.frame_metrics import BEST_PSNR, edited_pair
from pipeline.video.warp import warp_crop

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[U8, U8]
"""A crop of the result and of the truth, uint8 [S,S,3] each."""


def reconstruction(job: JobResult, net: str) -> dict[str, float | None]:
    """SSIM (as the job has measured it), MS-SSIM and LPIPS of reconstructed crops, means over frames."""
    from inverters import metrics

    measured = job.manifest["metrics"]["reconstruction"]["ssim"]
    found: dict[str, float | None] = {
        "ssim_reconstruction": None if measured is None else float(measured),
        "ms_ssim_reconstruction": None,
        "lpips_reconstruction": None,
    }
    ours, theirs = job.shown("reconstruction"), job.array("align/crops")
    if ours is None or theirs is None:
        return found
    similar, distant = [], []
    for one, two in zip(ours, theirs, strict=True):
        pair = unit(one)[None], unit(two)[None]
        similar.append(metrics.ms_ssim(*pair).item())
        distance = metrics.lpips(*pair, net)
        if distance is not None:
            distant.append(distance.item())
    found["ms_ssim_reconstruction"] = _mean(similar)
    found["lpips_reconstruction"] = _mean(distant)
    return found


def flicker_of_reconstruction(job: JobResult, net: str) -> tuple[float | None, float | None]:
    """Temporal PSNR (dB) and temporal LPIPS of the reconstructed crops against the input's."""
    ours = job.shown("reconstruction")
    theirs, frames = job.array("align/crops"), job.array("align/frames")
    if ours is None or theirs is None or frames is None:
        return None, None
    return _flicker(zip(frames.tolist(), zip(ours, theirs, strict=True), strict=True), net)


def flicker_of_edit(job: JobResult, truth: Truth, net: str) -> tuple[float | None, float | None]:
    """Temporal PSNR (dB) and temporal LPIPS of the edited frames in the true crop, against the true edit."""
    videos = edited_pair(job, truth)
    if videos is None:
        return None, None

    def crops() -> Iterator[tuple[int, Pair]]:
        pairs = zip(*(frames_of(path, truth.size) for path in videos), strict=False)
        for frame, (seen, wanted) in enumerate(pairs):
            affine, size = truth.affine[frame], truth.crop_size
            yield frame, (warp_crop(seen, affine, size), warp_crop(wanted, affine, size))

    return _flicker(crops(), net)


def _flicker(crops: Iterable[tuple[int, Pair]], net: str) -> tuple[float | None, float | None]:
    """Means over pairs of consecutive frames of temporal PSNR, at most BEST_PSNR, and temporal LPIPS."""
    import torch

    from inverters import metrics

    decibels, distances = [], []
    for (before, first), (after, second) in pairwise(crops):
        if after != before + 1:
            continue
        ours, theirs = (torch.stack([unit(first[k]), unit(second[k])]) for k in (0, 1))
        decibels.append(min(BEST_PSNR, metrics.temporal_psnr(ours, theirs).item()))
        distance = metrics.temporal_lpips(ours, theirs, net)
        if distance is not None:
            distances.append(distance.item())
    return _mean(decibels), _mean(distances)


def unit(image: U8) -> Tensor:
    """Convert uint8 [S,S,3] to float32 [3,S,S] in [-1,1]."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
