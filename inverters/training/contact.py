"""Contact sheets: a generator's renders beside the true heads."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.heads.params import sample_scores, to_z
from inverters.heads.render import render
from inverters.rendering.cameras import default_intrinsics, look_at


def save_sheet(rows: list[Tensor], path: Path) -> None:
    """Write rows of images, each [n,3,H,W] in [-1,1] with the same H and total width, as one PNG."""
    from PIL import Image

    sheet = torch.cat([torch.cat(list(row.float().cpu()), dim=2) for row in rows], dim=1)
    pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def held_out(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return held-out heads: scores [count,P] from seeds that training does not use, and cameras [count,4,4].

    The cameras' yaw goes from -0.5 to 0.5 radians.
    """
    rng = torch.Generator().manual_seed(4_000_000_000 + seed)
    scores = sample_scores(count, rng)
    yaw = torch.linspace(-0.5, 0.5, count)
    return scores, look_at(yaw, torch.zeros(count))


@torch.no_grad()
def draw(generator: Generator, scores: Tensor, cam2world: Tensor) -> tuple[Tensor, Tensor]:
    """Render heads [n,P] one at a time: final images [n,3,S,S] and raw images [n,3,h,h], in about [-1,1]."""
    device = next(generator.parameters()).device
    images, raws = [], []
    for score, camera in zip(scores, cam2world, strict=True):
        ws = generator.mapping(to_z(score[None], generator.config.z_dim).to(device))
        out = generator.synthesis(ws, camera[None].to(device), default_intrinsics(1).to(device), noise="none")
        images.append(out.image)
        raws.append(out.image_raw)
    return torch.cat(images), torch.cat(raws)


@torch.no_grad()
def comparison_sheet(generator: Generator, path: Path, seed: int, count: int) -> None:
    """Write a sheet of `count` heads as PNG; its rows are true heads, final images, enlarged raw images."""
    scores, cam2world = held_out(count, seed)
    size = generator.config.img_resolution
    truth = render(scores, cam2world, default_intrinsics(count), (size, size)).image
    image, raw = draw(generator, scores, cam2world)
    raw = torch.nn.functional.interpolate(raw, size=(size, size))
    save_sheet([truth, image, raw], path)
