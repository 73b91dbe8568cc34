"""What inversion methods are given of a clip: crops, cameras and masks by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clip import F64, I64, Cameras
from pipeline.request.occluder_masks import CropMasks, match_masks
from pipeline.stages import align, camera, decode, track
from pipeline.stages.run import StageRun

if TYPE_CHECKING:
    from inverters.base import Inversion, InversionProblem

NEEDS = ("decode", "track", "align", "camera")
"""Stages that a problem is made of."""


def problem_of(run: StageRun, with_masks: bool = False) -> InversionProblem:
    """Crops and cameras of the K frames with a face, and masks (`invert.occluder_masks`) if asked for."""
    import torch

    from inverters.base import InversionProblem

    rows, crops, cameras = run.of(track.STAGE).usable, run.of(align.STAGE), run.of(camera.STAGE)
    masks = None
    folder = run.settings.invert.occluder_masks if with_masks else None
    if folder is not None:
        clip = run.of(decode.STAGE)
        files = match_masks(Path(folder), rows, len(clip), clip.width, clip.height)
        masks = CropMasks(files, crops.affine[rows], crops.size)
    return InversionProblem(
        crops=run.result_of("align").arrays["crops"],
        frames=rows,
        cam2world=torch.from_numpy(cameras.cam2world[rows]).to(run.models.device),
        intrinsics=torch.from_numpy(cameras.intrinsics[rows]).to(run.models.device),
        occluder_masks=masks,
    )


def refined(cameras: Cameras, inversion: Inversion, frames: I64) -> Cameras:
    """The cameras of all frames, those of the K `frames` as the inversion refined them."""
    corrected = {name: np.array(getattr(cameras, name)) for name in ("cam2world", "intrinsics")}
    for name, tensor in inversion.cameras.items():
        corrected[name][frames] = tensor.numpy()
    return replace(cameras, **corrected)


def row_times(run: StageRun) -> F64:
    """Seconds [K] from the start of the clip of the frames with a face."""
    times = run.of(decode.STAGE).times
    found: F64 = times[run.of(track.STAGE).usable] - times[0]
    return found
