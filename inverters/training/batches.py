"""What a training step reads from stored views: points in space with their truth, and patches of pictures.

Half of all rays and patches lie on what people look at: eyes, mouth, brows, glasses, and outlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.rendering.rays import pixel_centres, project, rays_at
from inverters.training.people_pictures import WATCHED
from inverters.training.stored_set import Views, zoomed_intrinsics

DISTANCE_SCALE = 0.01
"""World units of distance that saturate the density target (one texel of a 128-plane is 0.0078)."""

DEPTH_STEP = 0.02
"""Difference of depth, in world units, that makes an outline, and by which free space is known to be free."""

RAY_START = 2.25

EDGE = 7
"""Pixels at a final patch's border whose convolutions see zeros in place of neighbours."""


@dataclass(frozen=True)
class Cameras:
    """The cameras of a batch: cam2world [B,V,4,4] and intrinsics [B,V,3,3] of whole pictures."""

    cam2world: Tensor
    intrinsics: Tensor

    @classmethod
    def of(cls, views: Views) -> Cameras:
        """The cameras of stored views."""
        zoom = views["zoom"]
        intrinsics = zoomed_intrinsics(zoom.reshape(-1)).reshape(*zoom.shape, 3, 3)
        return cls(views["cam2world"], intrinsics)


@dataclass(frozen=True)
class Points:
    """Points in the world of B people.

    where [B,M,3] with the target of density [B,M] in [-1,1], positive inside, and a weight [B,M]; surface
    [B,R,3], points near the visible surface, with colour [B,R,3] in [0,1].
    """

    where: Tensor
    target: Tensor
    weight: Tensor
    surface: Tensor
    colour: Tensor


@dataclass(frozen=True)
class Patches:
    """Square parts of pictures, n a person.

    view [B,n]; uv [B,n,p*p,2], the pixels of the raw render; image [B,n,3,q,q] in [-1,1], of the final
    picture; depth [B,n,p,p]. inner: of each patch, rows and columns of `image` whose convolutions see what
    they see in a whole picture: up to the picture's border, EDGE pixels less elsewhere.
    """

    view: Tensor
    uv: Tensor
    image: Tensor
    depth: Tensor
    inner: Sequence[tuple[slice, slice]]


def detail_chances(label: Tensor, depth: Tensor) -> Tensor:
    """Return the chance of each pixel of maps [N,h,h] to be drawn, [N,h*h] with sum one.

    Half is spread evenly, a quarter over what is watched (eyes, mouth, brows, glasses), a quarter over
    outlines: where the label changes or depth jumps.
    """
    detail = torch.isin(label, label.new_tensor(WATCHED)).float()
    outline = torch.zeros_like(detail)
    for dim in (1, 2):
        jump = (label.diff(dim=dim) != 0) | (depth.diff(dim=dim).abs() > DEPTH_STEP)
        before, after = ((0, 0, 1, 0), (0, 0, 0, 1)) if dim == 1 else ((1, 0), (0, 1))
        for side in (before, after):
            outline = torch.maximum(outline, F.pad(jump.float(), side))
    chances = torch.full_like(detail, 0.5 / detail[0].numel())
    for part in (detail, outline):
        total = part.sum((1, 2), keepdim=True)
        chances = chances + 0.25 * torch.where(total > 0, part / total.clamp_min(1), 1 / part[0].numel())
    return chances.flatten(1)


def point_batch(
    views: Views, cameras: Cameras, chances: Tensor, rays: int, free: int, rng: torch.Generator
) -> Points:
    """Draw points along rays of stored views.

    Along a ray the distance to the surface is that to its tangent plane. Behind the visible surface nothing
    is known but that it begins: points lie at most 0.012 behind it.

    Args:
        views: of B people, V each.
        cameras: of the views.
        chances: [B*V,h*h], see `detail_chances`.
        rays: rays R of a view.
        free: points of a view in free space away from its rays, at most `rays`.
        rng: source of the draws, on the device of the views.
    """
    b, v, h, _ = views["depth"].shape
    pixel = torch.multinomial(chances, rays, replacement=True, generator=rng)
    column, row = pixel % h, pixel // h
    scale = views["image"].shape[-1] // h
    inner = torch.randint(scale, (2, *pixel.shape), generator=rng, device=pixel.device)
    x, y = column * scale + inner[0], row * scale + inner[1]
    side = h * scale
    uv = (torch.stack([x, y], -1) + 0.5) / side
    flat = cameras.cam2world.flatten(0, 1), cameras.intrinsics.flatten(0, 1)
    origins, directions = rays_at(*flat, uv)
    depth = views["depth"].flatten(0, 1)
    ends = depth.flatten(1).gather(1, pixel)
    slant = _slant(depth, row, column, ends, flat[1][:, :1, 0] * h)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*pixel.shape, *shape, generator=rng, device=pixel.device)

    normal = torch.randn(pixel.shape, generator=rng, device=pixel.device)
    along = torch.stack(
        [
            ends + 0.006 * normal,
            ends - 0.03 + 0.042 * draw(),
            RAY_START + (ends - RAY_START) * draw(),
        ],
        2,
    )  # [B*V,R,3]
    target = ((along - ends[..., None]) * slant[..., None] / DISTANCE_SCALE).clamp(-1, 1)
    points = origins[:, :, None] + along[..., None] * directions[:, :, None]
    hits = (origins + ends[..., None] * directions).reshape(b, v, rays, 3)
    across, known = _across(hits[:, :, :free].flatten(1, 2), views["depth"], cameras, rng)
    pixels = views["image"].flatten(0, 1).flatten(2)
    colour = pixels.gather(2, (y * side + x)[:, None].expand(-1, 3, -1)).mT.float() / 255
    return Points(
        where=torch.cat([points.reshape(b, -1, 3), across], 1),
        target=torch.cat([target.reshape(b, -1), torch.full_like(known, -1)], 1),
        weight=torch.cat([torch.ones_like(target).reshape(b, -1), known], 1),
        surface=points[:, :, 0].reshape(b, -1, 3),
        colour=colour.reshape(b, -1, 3),
    )


def _slant(depth: Tensor, row: Tensor, column: Tensor, ends: Tensor, focal: Tensor) -> Tensor:
    """Cosine between ray and surface normal at pixels [N,R] of maps [N,h,h], at least 0.2.

    Of the differences to the two neighbours in a direction the smaller counts, so that an outline does not
    look like a steep surface. `focal` [N,1] is in pixels.
    """
    h = depth.shape[-1]
    flat = depth.flatten(1)

    def slope(dx: int, dy: int) -> Tensor:
        at = (row + dy).clamp(0, h - 1) * h + (column + dx).clamp(0, h - 1)
        return (flat.gather(1, at) - ends).abs()

    across, down = torch.minimum(slope(1, 0), slope(-1, 0)), torch.minimum(slope(0, 1), slope(0, -1))
    tangent = (across.square() + down.square()) / (ends / focal).square()
    return (1 + tangent).rsqrt().clamp_min(0.2)


def _across(points: Tensor, depth: Tensor, cameras: Cameras, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points [B,M,3], each moved to a random place along one axis, and which are known to be free [B,M].

    Most then lie in free space, where one of the three planes still has the features of the surface. A point
    is known to be free if some view sees past it.
    """
    axis = torch.randint(3, (*points.shape[:2], 1), generator=rng, device=points.device)
    anywhere = torch.rand(*points.shape[:2], 1, generator=rng, device=points.device) - 0.5
    moved = points.scatter(2, axis, anywhere)
    known = torch.zeros(points.shape[:2], device=points.device)
    h = depth.shape[-1]
    for view in range(depth.shape[1]):
        camera = cameras.cam2world[:, view]
        at = project(moved, camera, cameras.intrinsics[:, view])
        pixel = (at * h).floor().long()
        inside = ((pixel >= 0) & (pixel < h)).all(-1)
        pixel = pixel.clamp(0, h - 1)
        seen = depth[:, view].flatten(1).gather(1, pixel[..., 1] * h + pixel[..., 0])
        distance = (moved - camera[:, None, :3, 3]).norm(dim=-1)
        known = torch.maximum(known, (inside & (distance < seen - DEPTH_STEP)).float())
    return moved, known


def patch_batch(
    views: Views, chances: Tensor, count: int, patch: int, raw_size: int, rng: torch.Generator
) -> Patches:
    """Draw patches of stored views.

    Args:
        views: of B people, V each.
        chances: [B*V,h*h], of the centres of patches, see `detail_chances`.
        count: patches n of a person.
        patch: side p of a patch in pixels of the raw render.
        raw_size: side of the raw render in pixels.
        rng: source of the draws, on the device of the views.
    """
    b, v, h, _ = views["depth"].shape
    device = chances.device
    view = torch.randint(v, (b, count), generator=rng, device=device)
    rows = (torch.arange(b, device=device)[:, None] * v + view).reshape(-1)
    pixel = torch.multinomial(chances[rows], 1, generator=rng)
    centre = torch.cat([pixel % h, pixel // h], 1) / h
    whole = views["image"].shape[-1]
    up = whole / raw_size
    grid = next(k for k in range(1, raw_size + 1) if (k * whole) % raw_size == 0)  # whole final pixels
    corner = (centre * raw_size - patch / 2).clamp(0, raw_size - patch).div(grid).floor().long() * grid
    uv = (pixel_centres((patch, patch), device=device) * patch + corner[:, None]) / raw_size
    images, depths = views["image"].flatten(0, 1), views["depth"].flatten(0, 1)
    side = round(patch * up)
    first = (corner * up).round().long().tolist()
    cut = [
        images[row, :, y : y + side, x : x + side] for row, (x, y) in zip(rows.tolist(), first, strict=True)
    ]
    depth = F.grid_sample(
        depths[rows][:, None],
        (uv * 2 - 1).reshape(len(rows), patch, patch, 2),
        mode="nearest" if raw_size >= h else "bilinear",
        align_corners=False,
    )
    return Patches(
        view=view,
        uv=uv.reshape(b, count, -1, 2),
        image=(torch.stack(cut).float() / 127.5 - 1).unflatten(0, (b, count)),
        depth=depth[:, 0].unflatten(0, (b, count)),
        inner=[(_inner(y, side, whole), _inner(x, side, whole)) for x, y in first],
    )


def _inner(first: int, side: int, whole: int) -> slice:
    """Pixels of a side of a patch from `first` of `whole` on, without EDGE where the picture goes on."""
    return slice(0 if first == 0 else EDGE, side if first + side >= whole else side - EDGE)
