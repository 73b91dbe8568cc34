"""Stage `align`: EG3D's face crop as one sub-pixel affine a frame, with its exact inverse."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np

from pipeline.clip import Crops, FaceTrack
from pipeline.faces.crop_rule import CropRule, crop_affine, fit_crop, five_points
from pipeline.request.settings import Settings
from pipeline.stages import decode
from pipeline.stages import track as track_stage
from pipeline.stages.facts import Facts
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage


def align(track: FaceTrack, crop_rule: CropRule, size: int, aspect: Fraction = Fraction(1)) -> Crops:
    """The crop of every frame: affine [T,2,3] from source pixels to crop pixels; NaN without a face.

    aspect: width of a source pixel over its height. Crops have square pixels.
    """
    affine = np.full((len(track.status), 2, 3), np.nan)
    usable = track.usable
    if len(usable):
        square = track.landmarks[usable] * np.array([float(aspect), 1.0])
        params = fit_crop(five_points(square), crop_rule)
        affine[usable] = crop_affine(params, crop_rule, size)
        affine[..., 0] *= float(aspect)
    return Crops(affine, size)


def compute(run: StageRun) -> None:
    """Write `crops` uint8 [K,S,S,3], `affine` [T,2,3] and `frames` [K], the source frame of each crop."""
    from pipeline.video.warp import crop_frames

    generator, track = run.models.generator, run.of(track_stage.STAGE)
    size, usable = int(generator.config.img_resolution), track.usable
    clip = run.of(decode.STAGE)
    crops = align(track, generator.card.crop_rule, size, clip.sample_aspect)
    pixels = run.writer.array("crops", (len(usable), size, size, 3), np.uint8)
    for row, (_, crop) in enumerate(crop_frames(clip, crops)):
        pixels.write(crop[None])
        run.count(row + 1, len(usable))
    run.writer.put("affine", crops.affine)
    run.writer.put("frames", usable)


def load(run: StageRun) -> Crops:
    """The affines of the crops."""
    return Crops(run.result.arrays["affine"].read(), int(run.models.generator.config.img_resolution))


def facts(facts: Facts) -> dict[str, Any]:
    """The generator's crop rule and size."""
    size = int(facts.models.generator.config.img_resolution)
    return {"crop_rule": asdict(facts.card.crop_rule), "size": size}


STAGE = Stage(
    "align",
    version=3,
    load=load,
    compute=compute,
    reads=("generator",),
    needs=("decode", "track"),
    facts=facts,
)


def stages(settings: Settings) -> list[Stage[Crops]]:
    """The stage of every request."""
    return [STAGE]
