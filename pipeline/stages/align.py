"""Stage `align`: EG3D's face crop as one sub-pixel affine a frame, with its exact inverse."""

from __future__ import annotations

import numpy as np

from pipeline.clip import Crops, FaceTrack
from pipeline.faces.crop_rule import CropRule, crop_affine, fit_crop, five_points

VERSION = 2


def align(track: FaceTrack, crop_rule: CropRule, size: int) -> Crops:
    """The crop of every frame: affine [T,2,3] from source pixels to crop pixels; NaN without a face."""
    affine = np.full((len(track.status), 2, 3), np.nan)
    usable = track.usable
    if len(usable):
        params = fit_crop(five_points(track.landmarks[usable]), crop_rule)
        affine[usable] = crop_affine(params, crop_rule, size)
    return Crops(affine, size)
