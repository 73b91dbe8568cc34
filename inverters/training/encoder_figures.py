"""Figures of an encoder on pictures that training does not see, and a sheet of them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverters.encoders.table import see
from inverters.generators.eg3d import Generator
from inverters.metrics import psnr
from inverters.people.params import NUM_PARAMETERS
from inverters.training.contact import save_sheet
from inverters.training.covered_people import CoveredPeople
from inverters.training.encoder_batches import Views, covered_views, framed, stored_rows
from inverters.training.generator_samples import GeneratorSamples
from inverters.training.people_pictures import open_set, to_z
from inverters.training.stored_set import zoomed_intrinsics

PEOPLE = 12
"""People that a checkpoint is measured on, and covered ones beside them, one view of each."""


def mask_iou(found: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union [N] of covers [N,1,h,w] at half; NaN where both are empty."""
    a, b = found > 0.5, truth > 0.5
    return (a & b).sum((1, 2, 3)) / (a | b).sum((1, 2, 3)).float()


@torch.no_grad()
def rendered(generator: Generator, ws: Tensor, views: Views) -> Tensor:
    """Return the raw pictures [n,3,128,128] of codes [n or 1,num_ws,w_dim] from the cameras of views."""
    device, size = ws.device, views.image.shape[-1]
    sampling, found = generator.sampling(32, 24), []
    for row in range(len(views.zoom)):
        camera = views.cam2world[row : row + 1].to(device)
        lens = zoomed_intrinsics(views.zoom[row : row + 1]).to(device)
        planes = generator.planes(ws[row : row + 1] if len(ws) > 1 else ws)
        seen = generator.render(planes, camera, lens, None, sampling).features[:, :3]
        found.append(F.interpolate(seen, size=(size, size), mode="bilinear", antialias=True))
    return torch.cat(found)


def measure(
    network: nn.Module,
    generator: Generator,
    people: Path | None,
    covered: Path,
    samples: GeneratorSamples,
    sheet: Path | None = None,
) -> dict[str, float]:
    """Return PSNR in dB of the raw pictures of codes told, beside the mean face's, and the mask's IoU.

    psnr, psnr_mean: uncovered pictures; psnr_best: those of the true code. psnr_behind, psnr_behind_mean:
    the face behind occluders, in the pixels that they cover. `sheet`: a PNG with rows of pictures, codes'
    renderings, and for covered people the mask.
    """
    found: dict[str, float] = {}
    rows: list[Tensor] = []
    named = len(generator.card.parameters) == NUM_PARAMETERS
    plain = _plain_views(people if named else None, samples)
    if plain is not None:
        views, best = plain
        shown = _told(network, generator, views)[0]
        image = views.image.to(shown)
        average = rendered(generator, _average(generator), views)
        found |= {"psnr": _mean(psnr(shown, image)), "psnr_mean": _mean(psnr(average, image))}
        device = shown.device
        ws = best if best.ndim == 3 else generator.mapping(to_z(best, generator.config.z_dim).to(device))
        found["psnr_best"] = _mean(psnr(rendered(generator, ws.to(device), views), image))
        rows += [image[:PEOPLE], shown[:PEOPLE]]
    if named and len(some := CoveredPeople(covered, held_out=True)):
        found |= _behind(network, generator, some, rows)
    if sheet is not None and rows:
        save_sheet(rows, sheet)
    return {name: round(value, 3) for name, value in found.items()}


def _behind(
    network: nn.Module, generator: Generator, some: CoveredPeople, rows: list[Tensor]
) -> dict[str, float]:
    """Figures of covered people; adds their pictures to `rows`."""
    count = min(len(some), PEOPLE)
    views = covered_views(some, torch.arange(count), torch.arange(count) % some.tensors["zoom"].shape[1])
    shown, mask = _told(network, generator, views)
    ws = generator.mapping(to_z(views.codes.to(shown), generator.config.z_dim))
    truth, hidden = rendered(generator, ws, views), views.cover.to(shown) > 0.5
    average = rendered(generator, _average(generator), views)
    found = {
        "psnr_behind": _mean(psnr(shown, truth, hidden)),
        "psnr_behind_mean": _mean(psnr(average, truth, hidden)),
    }
    rows += [views.image.to(shown), shown, truth]
    if mask is not None:
        cover = F.interpolate(views.cover.to(shown), size=mask.shape[2:], mode="area")
        found["mask_iou"] = _mean(mask_iou(mask, cover))
        whole = F.interpolate(mask, size=shown.shape[2:])
        rows.append(whole.expand(-1, 3, -1, -1) * 2 - 1)
    return found


def _plain_views(people: Path | None, samples: GeneratorSamples) -> tuple[Views, Tensor] | None:
    """Uncovered views that are held out, and their true codes."""
    if people is not None:
        stored = open_set(people, held_out=True)
        some = list(range(min(PEOPLE, len(stored))))
        if some:
            views = stored_rows(stored, some, [[k % 2] for k in some])
            return views, views.codes
    count = min(samples.held_out, PEOPLE)
    if not count:
        return None
    views = samples.rows(torch.arange(count), torch.arange(count) % 2)
    return views, views.codes


def _told(network: nn.Module, generator: Generator, views: Views) -> tuple[Tensor, Tensor | None]:
    """Renderings of the codes that the network tells from framed views, and masks in the views' framing."""
    device = generator.backbone.mapping.w_avg.device
    image, _ = framed(views, torch.Generator(), jitter=0.0)
    with torch.no_grad():
        seen = see(network, image.to(device))
    ws = seen.offsets + generator.backbone.mapping.w_avg
    mask = None if seen.mask is None else _unframed(seen.mask.sigmoid(), views.zoom.to(device))
    return rendered(generator, ws, views), mask


def _unframed(mask: Tensor, zoom: Tensor) -> Tensor:
    """Masks [n,1,h,w] of pictures at EG3D's focal length, in pictures of `zoom` [n] times it."""
    rows = torch.zeros(len(mask), 2, 3).to(mask)
    rows[:, 0, 0] = rows[:, 1, 1] = 1 / zoom
    grid = F.affine_grid(rows, list(mask.shape), align_corners=False)
    return F.grid_sample(mask, grid, padding_mode="zeros", align_corners=False)


def _average(generator: Generator) -> Tensor:
    return generator.backbone.mapping.w_avg.expand(1, generator.num_ws, -1)


def _mean(values: Tensor) -> float:
    return float(values.nanmean())
