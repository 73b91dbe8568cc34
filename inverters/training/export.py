"""Export of a trained generator: half precision, with statistics and directions in its card."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from inverters.editing.directions import fit_directions
from inverters.generators.card import GeneratorCard
from inverters.generators.checkpoint import save_generator
from inverters.generators.eg3d import Generator
from inverters.training.people_pictures import PARAMETERS, sample_scores, to_z

LICENCE = "Apache-2.0; trained on pictures of invented people only, no photograph of anyone was used"


@torch.no_grad()
def export_generator(generator: Generator, path: Path, **training: Any) -> GeneratorCard:
    """Write generator and card, with statistics of w over 10,000 people and a direction for each parameter.

    Landmarks and the crop rule are added by `invid calibrate` afterwards.

    Args:
        generator: its mean code w_avg is set in place, on the CPU.
        path: where to write, ends in .safetensors.
        **training: steps, seconds and so on, kept in the card under reports["training"].

    Returns:
        The card as written.
    """
    generator = generator.cpu()
    rng = torch.Generator().manual_seed(1)
    z_dim = generator.config.z_dim
    w = generator.mapping(to_z(sample_scores(10_000, rng), z_dim))[:, 0]
    generator.backbone.mapping.w_avg.copy_(w.mean(0))
    names = [p.name for p in PARAMETERS]
    directions = fit_directions(
        generator, names, lambda scores: to_z(scores, z_dim), n=512, generator_rng=rng
    )
    card = dataclasses.replace(
        GeneratorCard.default(generator.config, path.stem),
        w_avg=w.mean(0),
        w_std=w.std(0),
        directions=directions,
        parameters=tuple(names),
        reports={"training": training},
        licence=LICENCE,
    )
    return save_generator(path, generator, card)
