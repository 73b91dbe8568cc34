"""Losses of the generator against procedural heads: density and colour at points, and images of patches."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.heads.params import to_z
from inverters.rendering.fused import Field, render_rays
from inverters.rendering.rays import rays_at
from inverters.training.sharpen import image_losses

DENSITY_GAIN = 200.0
"""Raw density of a point whose target is 1. While training, the decoder's first output is in units of the
target.
"""


def density_scaled(generator: Generator) -> Generator:
    """Return a copy whose decoder gives raw density in the units of EG3D's renderer (see DENSITY_GAIN)."""
    baked = copy.deepcopy(generator)
    with torch.no_grad():
        baked.decoder.net[2].weight[0] *= DENSITY_GAIN
        baked.decoder.net[2].bias[0] *= DENSITY_GAIN
    return baked


def planes_of(generator: Generator, scores: Tensor, resolution: int | None = None) -> tuple[Tensor, Tensor]:
    """Return planes [B,3,C,R,R] float32 and ws [B,num_ws,w_dim] of heads; convolutions run in bfloat16.

    Args:
        generator: the generator in training.
        scores: [B,P], the heads' parameters.
        resolution: stop the synthesis at the block of this resolution, as in progressive growing.
    """
    ws = generator.mapping(to_z(scores, generator.config.z_dim))
    synthesis = generator.backbone.synthesis
    x: Tensor | None = None
    image: Tensor | None = None
    row = 0
    with torch.autocast(scores.device.type, torch.bfloat16):
        for name in synthesis.names:
            block = getattr(synthesis, name)
            x, image = block(x, image, ws[:, row : row + block.num_convs + 1], "none")
            row += block.num_convs
            if name == f"b{resolution}":
                break
    if image is None:
        raise ValueError("a generator needs at least one block")
    return image.float().reshape(len(ws), 3, -1, *image.shape[2:]), ws


def point_losses(generator: Generator, planes: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return L1 losses at points: of the density target, and of the colour of the visible surface (times 8).

    Points with a target within +-0.99, near the surface, have weight 4 in the density loss. `batch` is one of
    `supervision.point_batch`; `planes` [B,3,C,R,R] belong to its heads.
    """
    sigma, _ = generator.sample(planes, batch["points"])
    near = 1 + 3 * (batch["target"].abs() < 0.99).float()
    _, rgb = generator.sample(planes, batch["surface"])
    return {
        "density": ((sigma - batch["target"]).abs() * near).mean(),
        "colour": (rgb[..., :3] - batch["colour"]).abs().mean() * 8,
    }


def patch_losses(generator: Generator, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Return the losses of patches: L1 of their raw render and of their super-resolved one.

    The raw render is compared with the area-averaged truth, the super-resolved one with the truth, as are its
    gradients. `batch` has the entries of `pictures.patch_batch`; `rng` draws the samples of the rays.
    """
    planes, ws = planes_of(generator, batch["patch_scores"])
    n, p = len(ws), round(batch["patch_uv"].shape[1] ** 0.5)
    origins, directions = rays_at(batch["patch_cam2world"], batch["patch_intrinsics"], batch["patch_uv"])

    field = Field(planes, generator.decoder.weights().scaled_density(DENSITY_GAIN))
    sampling = generator.sampling(coarse=32, fine=24, rng=rng)
    rendered = render_rays(field, origins, directions, sampling)
    features = rendered.features.transpose(1, 2).reshape(n, -1, p, p)
    truth = batch["patch_image"]
    low = F.avg_pool2d(truth, truth.shape[-1] // p)
    with torch.autocast(ws.device.type, torch.bfloat16):
        high = generator.superresolution.patch(features, ws, generator.config.neural_rendering_resolution)
    return {"raw": (features[:, :3] - low).abs().mean() * 2} | image_losses(high, truth)
