"""What encoders tell of people whose face is partly covered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.drawn_people import camera, person, rendered
from inverters.encoders.encoder_file import Encoder
from inverters.generators.eg3d import Generator
from inverters.people.occluders import animate_occluder, make_occluder
from inverters.people.params import index, sample_scores, to_z
from inverters.people.picture import draw
from inverters.rendering.cameras import default_intrinsics
from inverters.training.encoder_figures import mask_iou

SIZE = 128
_LEAST = 0.01
"""Share of a picture that an occluder covers at least, to be counted."""
_READ = 4000
"""People from whose codes the readout of a parameter is fitted."""
_CLEAR = 0.5
"""Standard deviations from the mean of a smile, or of its lack, that is seen at once."""


@dataclass(frozen=True)
class Covered:
    """A person behind an occluder: picture [3,S,S], cover [1,S,S], the picture without it, and the smile."""

    image: Tensor
    cover: Tensor
    clean: Tensor
    score: Tensor


@torch.no_grad()
def told(encoder: Encoder, generator: Generator, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Codes [N,L,D] and soft masks [N,1,S,S] (None without) of pictures [N,3,S,S]."""
    seen = encoder.see(images)
    mask = None
    if seen.mask is not None:
        mask = torch.nn.functional.interpolate(seen.mask.sigmoid(), size=(SIZE, SIZE), mode="bilinear")
    return seen.offsets + generator.backbone.mapping.w_avg, mask


def covered(scores: Tensor, name: str, seed: int) -> Iterator[Covered]:
    """Those of people [N,P] whom an occluder covers a little at least, seen from the front."""
    rng = torch.Generator().manual_seed(seed)
    pose = camera(0.0), default_intrinsics(1)[0], (SIZE, SIZE)
    for score in scores:
        found = person(score)
        times = torch.rand(1, generator=rng) * 3 + 1
        extra = make_occluder(name, found, animate_occluder(name, times, rng))
        with torch.no_grad():
            seen = draw(found, *pose, extra)
        clean = draw(found, *pose).image
        if float(seen.occluder.mean()) > _LEAST:
            yield Covered(seen.image, seen.occluder[None], clean, score)


def behind(encoder: Encoder, generator: Generator, people: dict[str, list[Covered]]) -> dict[str, Any]:
    """Figures of people behind every occluder."""
    found: dict[str, Any] = {"psnr_behind": {}, "psnr_behind_mean": {}}
    average = rendered(generator, generator.backbone.mapping.w_avg.expand(1, generator.num_ws, -1), 0.0, SIZE)
    ious: list[float] = []
    for name, some in people.items():
        if not some:
            continue
        images, covers = torch.stack([c.image for c in some]), torch.stack([c.cover for c in some])
        ws, mask = told(encoder, generator, images)
        shown = torch.stack([rendered(generator, code[None], 0.0, SIZE) for code in ws])
        clean = torch.stack([c.clean for c in some])
        value = partial(_pooled, clean=clean, hidden=covers > 0.5)
        found["psnr_behind"][name] = value(shown)
        found["psnr_behind_mean"][name] = value(average.expand_as(clean))
        if mask is not None:
            ious.append(float(mask_iou(mask, covers).nanmean()))
        if name == "mask":
            found["smile_behind_mask"] = smiles(generator, ws, torch.stack([c.score for c in some]))
    found["mask_iou"] = round(sum(ious) / len(ious), 3) if ious else None
    return found


def _pooled(shown: Tensor, clean: Tensor, hidden: Tensor) -> float:
    """PSNR in dB over the hidden pixels [N,1,S,S] of all pictures."""
    square = ((shown.clamp(-1, 1) - clean) / 2).square().mean(1, keepdim=True)
    return round(float(-10 * torch.log10((square * hidden).sum() / hidden.sum())), 2)


def smiles(generator: Generator, ws: Tensor, scores: Tensor) -> dict[str, float] | None:
    """Told smiles beside true ones, in standard deviations of people; None for too few people.

    A smile is read from the first row of the codes by least squares over people whom the generator knows.

    Args:
        generator: whose z has the people's parameters.
        ws: told codes [N,L,D].
        scores: of the people [N,P].

    Returns:
        `correlation`; `gain`: told over true, the slope through the origin; `sign_right`: the share of people
        who clearly smile or clearly do not, of whom that is told.
    """
    if len(ws) < 3:
        return None
    rng = torch.Generator().manual_seed(0)
    known = sample_scores(_READ, rng)
    mean = generator.backbone.mapping.w_avg
    codes = generator.mapping(to_z(known, generator.config.z_dim))[:, 0] - mean
    true = scores[:, index("smile")].double()
    read = torch.linalg.lstsq(codes.double(), known[:, index("smile"), None].double()).solution[:, 0]
    seen = (ws[:, 0] - mean).double() @ read
    clear = true.abs() >= _CLEAR
    return {
        "correlation": round(float(torch.corrcoef(torch.stack([seen, true]))[0, 1]), 3),
        "gain": round(float((seen * true).sum() / true.square().sum()), 3),
        "sign_right": round(float((seen * true > 0)[clear].double().mean()), 3),
    }
