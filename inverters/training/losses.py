"""Losses of the generator in training: density and colour at points, raw and final patches of pictures."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.rendering.fused import Field, render_rays
from inverters.rendering.planes import COORDINATES, PlaneAxes
from inverters.rendering.rays import rays_at
from inverters.training.batches import Cameras, Patches, Points
from inverters.training.people_pictures import to_z
from inverters.training.whitening import Whitening

DENSITY_GAIN = 200.0
"""Raw density of a point whose target is 1. While training, the decoder's first output is in units of the
target.
"""

_DEPTH_REACH = 0.05
"""Error of depth, in world units, from which on little more than its logarithm counts."""

_TEXTURE_WINDOW = 8
"""Side in pixels of the squares in which texture is measured."""
_TEXTURE_FLOOR = 4e-5
"""Mean square of second differences of pixels in [0,1] that a grain of 0.7 grey levels has: less is plain."""
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Steps down and to the right along which second differences are taken."""


def as_used(generator: Generator, whitening: Whitening | None = None) -> Generator:
    """Return a copy for use of a generator in training.

    Its decoder gives raw density in the units of EG3D's renderer (see DENSITY_GAIN), and its affine layers
    read w, not whitened codes.
    """
    baked = copy.deepcopy(generator)
    if whitening is not None:
        whitening.leave(baked)
    with torch.no_grad():
        last = baked.decoder.layers[1]
        last.weight[0] *= DENSITY_GAIN
        last.bias[0] *= DENSITY_GAIN
    return baked


def planes_of(
    generator: Generator,
    scores: Tensor,
    resolution: int | None = None,
    whitening: Whitening | None = None,
) -> tuple[Tensor, Tensor]:
    """Return planes [B,3,C,R,R] of people, and the ws [B,num_ws,w_dim] that the affine layers read.

    Args:
        generator: the generator in training.
        scores: [B,P], the people's parameters.
        resolution: stop the synthesis at the block of this resolution, as in progressive growing.
        whitening: of the codes that the generator's affine layers read, if they do.
    """
    ws = generator.mapping(to_z(scores, generator.config.z_dim))
    ws = ws if whitening is None else whitening(ws)
    synthesis = generator.backbone.synthesis
    last = len(synthesis.names) - 1 if resolution is None else synthesis.number(resolution)
    image = synthesis.run(ws, range(last + 1))[1]
    return image.reshape(len(ws), 3, -1, *image.shape[2:]), ws


def point_features(planes: Tensor, points: Tensor, box_warp: float, axes: PlaneAxes) -> Tensor:
    """Return what `rendering.planes.mean_features` returns, with a gradient in the layout of the renderer's.

    The twelve texels of a point are rows of one table; so the gradients of points and of rays add up without
    a change of layout, and scattering them is faster on a CPU. No gradient for the points.

    Args:
        planes: [B,3,C,R,R].
        points: [B,M,3] in world units.
        box_warp: side of the cube that the planes cover, in world units.
        axes: see `rendering.planes`.

    Returns:
        [B,M,C].
    """
    b, m, _ = points.shape
    size = planes.shape[-1]
    table = planes.permute(0, 3, 4, 1, 2).reshape(-1, planes.shape[2])  # a view of what the synthesis makes
    columns = torch.tensor(COORDINATES[axes], device=points.device)  # [3,2]
    at = (points * (2 / box_warp) + 1) * (size / 2) - 0.5
    at = at[..., columns.flatten()].reshape(b, m, 3, 2)
    low = at.floor()
    part = at - low
    taps = low[..., None, :] + torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=at.device)  # [B,M,3,4,2]
    share = torch.stack([1 - part, part], -1)  # [B,M,3,2,2]
    weight = (share[..., 1, :, None] * share[..., 0, None, :]).flatten(-2)
    inside = ((taps >= 0) & (taps < size)).all(-1)
    taps = taps.clamp(0, size - 1).long()
    person = torch.arange(b, device=at.device).reshape(b, 1, 1, 1)
    plane = torch.arange(3, device=at.device).reshape(3, 1)
    rows = ((person * size + taps[..., 1]) * size + taps[..., 0]) * 3 + plane
    found = F.embedding_bag(
        rows.reshape(b * m, 12),
        table,
        mode="sum",
        per_sample_weights=(weight * inside / 3).reshape(b * m, 12),
    )
    return found.reshape(b, m, -1)


def point_losses(generator: Generator, planes: Tensor, points: Points) -> dict[str, Tensor]:
    """Return L1 losses at points of people with planes [B,3,C,R,R]: of density, and of colour (times 8).

    Points with a target within +-0.99, near the surface, have weight 4 in the density loss.
    """
    count = points.where.shape[1]
    config = generator.config
    where = torch.cat([points.where, points.surface], 1)
    sigma, rgb = generator.decoder(point_features(planes, where, config.box_warp, config.plane_axes))
    near = points.weight * (1 + 3 * (points.target.abs() < 0.99).float())
    return {
        "density": ((sigma[:, :count] - points.target).abs() * near).sum() / points.weight.sum().clamp_min(1),
        "colour": (rgb[:, count:, :3] - points.colour).abs().mean() * 8,
    }


def slopes(error: Tensor, scales: int = 3) -> Tensor:
    """Return the mean absolute gradient of an error image [n,C,H,W], summed over halved sizes."""
    total = error.new_zeros(())
    for scale in range(scales):
        error = F.avg_pool2d(error, 2) if scale else error
        if min(error.shape[-2:]) < 4:
            break
        total = total + error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return total


def raw_losses(
    generator: Generator, planes: Tensor, cameras: Cameras, patches: Patches
) -> tuple[dict[str, Tensor], Tensor]:
    """Render patches raw; return their losses and their features [B*n,C,p,p].

    L1 and gradients against the area-averaged truth, and L1 of depth. Samples lie on the rays as they do in
    use: drawn ones would be noise that super-resolution learns to take for texture.
    """
    b, n, rays, _ = patches.uv.shape
    p = round(rays**0.5)
    person = torch.arange(b, device=planes.device)[:, None]
    cam2world = cameras.cam2world[person, patches.view].flatten(0, 1)
    intrinsics = cameras.intrinsics[person, patches.view].flatten(0, 1)
    origins, directions = rays_at(cam2world, intrinsics, patches.uv.flatten(0, 1))
    field = Field(planes, generator.decoder.weights().scaled_density(DENSITY_GAIN))
    sampling = generator.sampling(coarse=32, fine=24)
    seen = render_rays(field, origins.reshape(b, -1, 3), directions.reshape(b, -1, 3), sampling)
    features = seen.features.reshape(b * n, rays, -1).mT.reshape(b * n, -1, p, p)
    error = features[:, :3] - as_raw(patches.image.flatten(0, 1), p)
    off = (seen.depth.reshape(b * n, p, p) - patches.depth.flatten(0, 1).clamp_max(sampling.ray_end)).abs()
    losses = {
        "raw": error.abs().mean() * 2,
        "raw_slope": slopes(error) * 0.5,
        "depth": robust(off).mean() * 4,
    }
    return losses, features


def robust(error: Tensor) -> Tensor:
    """Return errors of depth [...], large ones as their logarithm, so that specks have a gradient too."""
    return _DEPTH_REACH * torch.log1p(error / _DEPTH_REACH)


def as_raw(truth: Tensor, side: int) -> Tensor:
    """Return true patches [n,3,H,H] as raw ones of this side: averaged over areas."""
    if truth.shape[-1] % side == 0:
        return F.avg_pool2d(truth, truth.shape[-1] // side)
    return F.interpolate(truth, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def texture(image: Tensor, truth: Tensor, scales: int = 3) -> Tensor:
    """Return how far the texture of images [n,3,H,W] in [-1,1] is from the truth's, wherever its grains lie.

    As in texture synthesis (Heeger & Bergen 1995), texture is the energy of oriented bands: of second
    differences in four directions, in squares side by side. Hair that is not the true one hair by hair, but
    as rough and of the same direction, is right; blurred hair is wrong.

    Returns:
        Mean square of the logarithm of the ratio of amplitudes, over directions and scales; 0 for images that
        do not hold two squares.
    """
    found: list[Tensor] = []
    a, b = image.float() / 2, truth.float() / 2
    for scale in range(scales):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        if min(a.shape[-2:]) < 2 * _TEXTURE_WINDOW + 2:
            break
        for direction in _DIRECTIONS:
            ratio = (_energy(a, direction) + _TEXTURE_FLOOR) / (_energy(b, direction) + _TEXTURE_FLOOR)
            found.append((0.5 * ratio.log()).square().mean())
    return torch.stack(found).mean() if found else image.new_zeros(())


def _energy(image: Tensor, direction: tuple[int, int]) -> Tensor:
    """Mean square [n,C,h,w] of the second difference of an image along (down, right), in squares."""
    down, right = direction
    height, width = image.shape[-2] - 2 * down, image.shape[-1] - 2 * abs(right)

    def moved(steps: int) -> Tensor:
        left = steps * right if right >= 0 else (2 - steps) * -right
        return image[..., steps * down : steps * down + height, left : left + width]

    return F.avg_pool2d((2 * moved(1) - moved(0) - moved(2)).square(), _TEXTURE_WINDOW)


def final_losses(image: Tensor, truth: Tensor, inner: Sequence[tuple[slice, slice]]) -> dict[str, Tensor]:
    """Return L1 of super-resolved patches [n,3,H,W] and of gradients at several scales, in inner parts."""
    errors = [part[:, rows, columns] for part, (rows, columns) in zip(image - truth, inner, strict=True)]
    return {
        "image": torch.stack([error.abs().mean() for error in errors]).mean() * 2,
        "slope": torch.stack([slopes(error[None]) for error in errors]).mean(),
    }
