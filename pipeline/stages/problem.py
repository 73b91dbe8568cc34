"""What inversion methods are given of a clip: crops, cameras and masks by row.

Rows [K] are the frames that are fitted. Pictures [P] are all frames with a face: a frame that repeats the one
before it is a picture of the same row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.clip import F64, I64, U8, Cameras, FaceTrack
from pipeline.request.occluder_masks import CropMasks, match_masks
from pipeline.stages import align, camera, decode, track
from pipeline.stages.run import StageRun
from storage import StoredArray

if TYPE_CHECKING:
    from inverters.base import Inversion, InversionProblem

NEEDS = ("decode", "track", "align", "camera")
"""Stages that a problem is made of."""


def problem_of(run: StageRun, with_masks: bool = False) -> InversionProblem:
    """Crops and cameras of the K fitted frames, and masks (`invert.occluder_masks`) if asked for."""
    import torch

    from inverters.base import InversionProblem

    rows, crops, cameras = run.of(track.STAGE).fitted, run.of(align.STAGE), run.of(camera.STAGE)
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


def refined(cameras: Cameras, inversion: Inversion, found: FaceTrack) -> Cameras:
    """The cameras of all frames, those with a face as the inversion refined them."""
    corrected = {name: np.array(getattr(cameras, name)) for name in ("cam2world", "intrinsics")}
    for name, tensor in inversion.cameras.items():
        corrected[name][found.usable] = tensor.numpy()[found.rows]
    return replace(cameras, **corrected)


@dataclass(frozen=True)
class OfPictures:
    """An array by row as one by picture; `rows` [P] is the row of each picture."""

    array: StoredArray
    rows: I64

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array, with the number of pictures in the place of that of rows."""
        return (len(self.rows), *self.array.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, pictures: Any) -> U8:
        found: U8 = self.array[self.rows[pictures]]
        return found


def by_picture(run: StageRun, array: StoredArray) -> StoredArray | OfPictures:
    """An array [K,...] of the fitted frames as one [P,...] of all frames with a face."""
    rows = run.of(track.STAGE).rows
    return array if len(rows) == len(array) else OfPictures(array, rows)


def source_crops(run: StageRun) -> StoredArray | OfPictures:
    """The crops of the source by picture, uint8 [P,S,S,3]."""
    return by_picture(run, run.result_of("align").arrays["crops"])


def row_times(run: StageRun) -> F64:
    """Seconds [P] from the start of the clip of all frames with a face."""
    times = run.of(decode.STAGE).times
    found: F64 = times[run.of(track.STAGE).usable] - times[0]
    return found
