"""Pictures of people: image, depth and labels from a camera, four samples a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inverters.people import backdrop
from inverters.people.labels import OCCLUDER
from inverters.people.parts import Mesh, Strands, joined
from inverters.people.person import Person, make_person
from inverters.rendering.drawing import (
    Camera,
    Canvas,
    draw_strands,
    draw_translucent,
    draw_triangles,
    label_alpha,
    new_canvas,
    resolve,
)
from inverters.rendering.rays import make_rays

SAMPLES = 2
"""Samples a pixel, along each side."""


@dataclass(frozen=True)
class Picture:
    """What a camera of H x W pixels sees."""

    image: Tensor
    """[3,H,W] in [-1,1]."""
    depth: Tensor
    """[H,W] along the rays in world units, of the nearest of a pixel's samples."""
    label: Tensor
    """[H,W] uint8, of the first sample of each pixel (`labels`)."""
    occluder: Tensor
    """[H,W] in [0,1]: share of the pixel that an occluder covers; what is translucent counts by its alpha."""


@dataclass(frozen=True)
class Extra:
    """What is drawn besides the person, such as an occluder; its labels are OCCLUDER."""

    meshes: Sequence[Mesh] = ()
    strands: Sequence[Strands] = ()
    glassy: Sequence[Mesh] = ()


def draw(
    person: Person, cam2world: Tensor, intrinsics: Tensor, size: tuple[int, int], extra: Extra | None = None
) -> Picture:
    """Draw a person, and what may stand before it, from a camera.

    Args:
        person: from `make_person`.
        cam2world: [4,4].
        intrinsics: [3,3], divided by the picture's size.
        size: (H, W) in pixels.
        extra: drawn with the person, by depth.
    """
    extra = extra or Extra()
    camera = Camera(*(part.to(person.shape.fine.device) for part in (cam2world, intrinsics)))
    behind, wall = backdrop.seen(person.values, 0, camera.cam2world, camera.intrinsics, size)
    canvas = _paint(behind, camera, [*person.meshes, *extra.meshes], [*person.strands, *extra.strands])
    covered = _draw_glass(canvas, camera, person, extra)
    colour, depth = resolve(canvas, SAMPLES)
    directions = make_rays(camera.cam2world[None], camera.intrinsics[None], size)[1]
    forward = directions[0].reshape(*size, 3) @ camera.cam2world[:3, 2]
    return Picture(
        image=colour.permute(2, 0, 1) * 2 - 1,
        depth=torch.minimum(depth / forward, wall),
        label=canvas.label[::SAMPLES, ::SAMPLES].contiguous(),
        occluder=covered,
    )


@torch.no_grad()
def backdrop_share(person: Person, cam2world: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the share [H,W] in [0,1] that the backdrop has in each pixel of a person's picture.

    A picture is linear in the backdrop's colour: where another one stands behind the same person, the picture
    changes by this share of the difference.
    """
    camera = Camera(*(part.to(person.shape.fine.device) for part in (cam2world, intrinsics)))
    white = torch.ones(*size, 3, device=person.shape.fine.device)
    black = [replace(m, colours=torch.zeros_like(m.colours)) for m in person.meshes]
    strands = [replace(s, colours=torch.zeros_like(s.colours)) for s in person.strands]
    canvas = _paint(white, camera, black, strands)
    for m in person.glassy:
        dark = torch.cat([torch.zeros_like(m.colours[:, :3]), m.colours[:, 3:]], 1)
        draw_translucent(canvas, camera, m.vertices, dark, m.triangles)
    return resolve(canvas, SAMPLES)[0][..., 0]


def _paint(behind: Tensor, camera: Camera, meshes: Sequence[Mesh], strands: Sequence[Strands]) -> Canvas:
    """Draw opaque meshes and hair before a backdrop [H,W,3]."""
    fine = behind.repeat_interleave(SAMPLES, 0).repeat_interleave(SAMPLES, 1).contiguous()
    canvas = new_canvas((fine.shape[0], fine.shape[1]), fine)
    vertices, colours, triangles, labels, sided = joined(meshes)
    canvas = draw_triangles(canvas, camera, vertices, colours, triangles, labels, sided)
    for s in strands:
        canvas = draw_strands(canvas, camera, s.points, s.colours, s.radius, s.opacity, s.soft, s.label)
    return canvas


def _draw_glass(canvas: Canvas, camera: Camera, person: Person, extra: Extra) -> Tensor:
    """Draw the translucent meshes of both; returns the share [H,W] of the pixels that occluders cover."""
    if not extra.glassy:
        for m in person.glassy:
            draw_translucent(canvas, camera, m.vertices, m.colours, m.triangles)
        return label_alpha(canvas, (OCCLUDER,), SAMPLES)
    vertices, colours, triangles, labels, _ = joined([*person.glassy, *extra.glassy])
    # The same blending, of white occluders over black people, gives the share that they cover.
    opaque = (canvas.label == OCCLUDER).to(colours)[..., None].expand_as(canvas.colour).contiguous()
    matte = Canvas(opaque, canvas.depth, canvas.label.clone())
    groups = ((0.0, person.glassy), (1.0, extra.glassy))
    white = torch.cat([torch.full_like(m.colours[:, :3], k) for k, group in groups for m in group])
    draw_translucent(matte, camera, vertices, torch.cat([white, colours[:, 3:]], 1), triangles)
    draw_translucent(canvas, camera, vertices, colours, triangles, labels)
    return resolve(matte, SAMPLES)[0][..., 0]


@torch.no_grad()
def portraits(scores: Tensor, cam2world: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Return pictures [N,3,H,W] in [-1,1] of people with scores [N,P] from cameras [N,4,4], [N,3,3]."""
    device = str(scores.device)
    return torch.stack(
        [
            draw(make_person(row, device), pose, lens, size).image
            for row, pose, lens in zip(scores, cam2world, intrinsics, strict=True)
        ]
    )
