"""Stage `align`: EG3D's face crop as one sub-pixel affine a frame, with its exact inverse."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64, Crops, FaceTrack
from pipeline.faces.crop_rule import CropRule, crop_affine, fit_crop, five_points
from pipeline.request.settings import Settings
from pipeline.stages import decode
from pipeline.stages import track as track_stage
from pipeline.stages.facts import Facts
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage

_ROLL = np.pi / 3
"""Roll in radians from which on a face is turned by quarters."""


def align(track: FaceTrack, crop_rule: CropRule, size: int, aspect: Fraction = Fraction(1)) -> Crops:
    """The crop of every frame: affine [T,2,3] from source pixels to crop pixels; NaN without a face.

    A face on its side or upside down is turned by quarters until it stands; what roll is left stays in the
    crop, as EG3D has it. aspect: width of a source pixel over its height. Crops have square pixels.
    """
    affine = np.full((len(track.status), 2, 3), np.nan)
    usable = track.usable
    if len(usable):
        square = track.landmarks[usable] * np.array([float(aspect), 1.0])
        turn = standing_turns(square)
        params = fit_crop(five_points(square @ np.swapaxes(turn, 1, 2)), crop_rule)
        upright = crop_affine(params, crop_rule, size)
        affine[usable] = np.concatenate([upright[..., :2] @ turn, upright[..., 2:]], axis=-1)
        affine[..., 0] *= float(aspect)
    return Crops(affine, size)


def standing_turns(landmarks: npt.NDArray[Any]) -> F64:
    """Rotations [K,2,2] by quarters that bring faces [K,68,2] upright; none up to a roll of 60 degrees."""
    five = five_points(landmarks)
    across = five[:, 1] - five[:, 0]
    roll = np.arctan2(across[:, 1], across[:, 0])
    quarters = np.where(np.abs(roll) > _ROLL, np.rint(roll / (np.pi / 2)), 0.0)
    cosine, sine = (np.rint(f(quarters * np.pi / 2)) for f in (np.cos, np.sin))
    turns: F64 = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], axis=1)
    return turns


def compute(run: StageRun) -> None:
    """Write `crops` uint8 [K,S,S,3], `affine` [T,2,3] and `frames` [K], the source frame of each crop.

    A frame that repeats the one before it has an affine, and no crop.
    """
    from pipeline.video.warp import crop_frames

    generator, track = run.models.generator, run.of(track_stage.STAGE)
    size, fitted = int(generator.config.img_resolution), track.fitted
    clip = run.of(decode.STAGE)
    crops = align(track, generator.card.crop_rule, size, clip.sample_aspect)
    pixels = run.writer.array("crops", (len(fitted), size, size, 3), np.uint8)
    affine = np.full_like(crops.affine, np.nan)
    affine[fitted] = crops.affine[fitted]
    for row, (_, crop) in enumerate(crop_frames(clip, Crops(affine, size))):
        pixels.write(crop[None])
        run.count(row + 1, len(fitted))
    run.writer.put("affine", crops.affine)
    run.writer.put("frames", fitted)


def load(run: StageRun) -> Crops:
    """The affines of the crops."""
    return Crops(run.result.arrays["affine"].read(), int(run.models.generator.config.img_resolution))


def facts(facts: Facts) -> dict[str, Any]:
    """The generator's crop rule and size."""
    size = int(facts.models.generator.config.img_resolution)
    return {"crop_rule": asdict(facts.card.crop_rule), "size": size}


STAGE = Stage(
    "align",
    version=4,
    load=load,
    compute=compute,
    reads=("generator",),
    needs=("decode", "track"),
    facts=facts,
)


def stages(settings: Settings) -> list[Stage[Crops]]:
    """The stage of every request."""
    return [STAGE]
