"""A generator's pictures beside stored ones: contact sheets and PSNR."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.metrics import psnr
from inverters.rendering.cameras import default_intrinsics
from inverters.training.people_pictures import DETAIL, open_set, to_z
from inverters.training.stored_set import Views, zoomed_intrinsics


def save_sheet(rows: list[Tensor], path: Path) -> None:
    """Write rows of images, each [n,3,H,W] in [-1,1] with the same H and total width, as one PNG."""
    from PIL import Image

    sheet = torch.cat([torch.cat(list(row.float().cpu()), dim=2) for row in rows], dim=1)
    pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@torch.no_grad()
def draw(
    generator: Generator, scores: Tensor, cam2world: Tensor, intrinsics: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Render people [n,P] one at a time: final images [n,3,S,S] and raw images [n,3,h,h], in about [-1,1].

    The cameras are `cam2world` [n,4,4] and `intrinsics` [n,3,3]; None takes EG3D's.
    """
    device = next(generator.parameters()).device
    intrinsics = default_intrinsics(len(scores)) if intrinsics is None else intrinsics
    images, raws = [], []
    for score, camera, lens in zip(scores, cam2world, intrinsics, strict=True):
        ws = generator.mapping(to_z(score[None].to(device), generator.config.z_dim))
        out = generator.synthesis(ws, camera[None].to(device), lens[None].to(device))
        images.append(out.image)
        raws.append(out.image_raw)
    return torch.cat(images).cpu(), torch.cat(raws).cpu()


def some_views(folder: Path, people: int, held_out: bool = True) -> Views:
    """Return one view of each of `people` people held out, or learned from; every second view is frontal."""
    stored = open_set(folder, held_out)
    people = min(people, len(stored))
    last = stored.read([0], names=("zoom",))["zoom"].shape[1] - 1
    views = stored.read(list(range(people)), [[0 if k % 2 == 0 else last] for k in range(people)])
    return {name: value if name == "scores" else value[:, 0] for name, value in views.items()}


def compare(
    generator: Generator, views: Views, sheet: Path | None = None, columns: int = 8
) -> dict[str, float]:
    """Return the mean PSNR in dB of the generator's pictures of stored views, and write a sheet.

    Args:
        generator: with densities in the units of the renderer.
        views: from `some_views`.
        sheet: a PNG of the first `columns` people; its rows are true, final, enlarged raw images.
        columns: people in the sheet.

    Returns:
        psnr; psnr_raw, of the raw images against the area-averaged truth; psnr_detail, over the pixels of
        eyes, mouth and brows alone.
    """
    truth = views["image"].float() / 127.5 - 1
    image, raw = draw(generator, views["scores"], views["cam2world"], zoomed_intrinsics(views["zoom"]))
    if sheet is not None:
        enlarged = F.interpolate(raw[:columns], size=truth.shape[-2:])
        save_sheet([truth[:columns], image[:columns], enlarged], sheet)
    low = F.interpolate(truth, size=raw.shape[-2:], mode="bilinear", antialias=True, align_corners=False)
    detail = torch.isin(views["label"], views["label"].new_tensor(DETAIL)).float()[:, None]
    detail = F.interpolate(detail, size=truth.shape[-2:])
    error = ((image.clamp(-1, 1) - truth).square() * detail).sum() / (3 * detail.sum().clamp_min(1))
    return {
        "psnr": float(psnr(image, truth).mean()),
        "psnr_raw": float(psnr(raw, low).mean()),
        "psnr_detail": float(-10 * torch.log10(error / 4)),
    }
