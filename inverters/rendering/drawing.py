"""Drawing of made-up people: meshes, glass, hair strands, and shadows between points. Not differentiable.

Each function checks its arguments and calls compiled code for the tensors' device or the reference in plain
torch, as `backends.draws` chooses. Tensors are float32 unless stated, and stay on their device.

    canvas = new_canvas(512, torch.tensor([0.4, 0.5, 0.6]))
    draw_triangles(canvas, camera, vertices, colours, triangles, labels)
    draw_strands(canvas, camera, points, colours, radius=2e-4, opacity=0.8, soft=0.012, label=7)
    colour, depth = resolve(canvas)
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from inverters.rendering import backends, drawing_compiled, drawing_reference
from inverters.rendering.canvas import (
    Camera,
    Canvas,
    Size,
    check,
    check_canvas,
    checked_size,
    focal_samples,
    label_alpha,
    new_canvas,
    project,
    project_fixed,
    resolve,
)

__all__ = (
    "Camera",
    "Canvas",
    "draw_strands",
    "draw_translucent",
    "draw_triangles",
    "hits",
    "interpolate",
    "label_alpha",
    "new_canvas",
    "resolve",
    "visibility",
)

_PUSH = 0.006
"""Queries with a normal are moved out by this, world units."""


def _operators(like: Tensor) -> ModuleType:
    return drawing_compiled if backends.draws(like.device.type) else drawing_reference


def draw_triangles(
    canvas: Canvas,
    camera: Camera,
    vertices: Tensor,
    colours: Tensor,
    triangles: Tensor,
    labels: Tensor,
    two_sided: Tensor | None = None,
) -> Canvas:
    """Draw opaque triangles with a depth test against and into the canvas.

    A sample is covered where its centre lies in the triangle; one on a shared edge belongs to one of the two,
    so that closed meshes have no holes. Positions are rounded to 1/256 sample. A triangle with a vertex
    nearer than 1e-3, or 2^20 samples outside the canvas, is dropped. Of two at one depth, the first is drawn.

    Args:
        canvas: changed in place.
        camera: of the picture.
        vertices: [V,3] in world units.
        colours: [V,3], interpolated with perspective.
        triangles: [T,3] int32; counter-clockwise seen from outside.
        labels: [T] uint8.
        two_sided: [T] bool, triangles also drawn from behind; None: none.

    Returns:
        `canvas`.

    Raises:
        ValueError: other shapes, dtypes or devices, or an index outside the vertices.
    """
    _check_mesh(vertices, triangles, canvas)
    check("colours", colours, torch.float32, vertices.shape, vertices)
    check("labels", labels, torch.uint8, triangles.shape[:1], vertices)
    _check_sides(two_sided, triangles)
    if len(triangles):
        screen = project_fixed(camera, vertices, canvas.size)
        _operators(vertices).draw_triangles(canvas, screen, colours, triangles, labels, two_sided)
    return canvas


def draw_translucent(
    canvas: Canvas,
    camera: Camera,
    vertices: Tensor,
    colours: Tensor,
    triangles: Tensor,
    labels: Tensor | None = None,
) -> Canvas:
    """Blend triangles over the canvas, those far away first, from both sides; depth is read and not written.

    The order is that of the triangles' mean depths.

    Args:
        canvas: changed in place.
        camera: of the picture.
        vertices: [V,3] in world units.
        colours: [V,4]: colour, and alpha in [0,1] (not multiplied in).
        triangles: [T,3] int32.
        labels: [T] uint8, written where alpha is at least 0.5; None: not written.

    Returns:
        `canvas`.

    Raises:
        ValueError: other shapes, dtypes or devices, or an index outside the vertices.
    """
    _check_mesh(vertices, triangles, canvas)
    check("colours", colours, torch.float32, (len(vertices), 4), vertices)
    if labels is not None:
        check("labels", labels, torch.uint8, triangles.shape[:1], vertices)
    if not len(triangles):
        return canvas
    screen = project_fixed(camera, vertices, canvas.size)
    depth = vertices @ camera.cam2world[:3, 2].to(vertices)
    order = depth[triangles.long()].sum(1).argsort(descending=True, stable=True)
    labels = None if labels is None else labels[order]
    _operators(vertices).draw_translucent(canvas, screen, colours, triangles[order], labels)
    return canvas


def hits(
    size: Size, camera: Camera, vertices: Tensor, triangles: Tensor, two_sided: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the surface that each sample of an empty canvas shows, as `draw_triangles` draws it.

    Args:
        size: rows and columns.
        camera: of the picture.
        vertices: [V,3] in world units.
        triangles: [T,3] int32.
        two_sided: [T] bool, triangles also seen from behind; None: none.

    Returns:
        Triangle [H,W] int32, -1 for none; barycentric coordinates [H,W,3] in the world, zero for none.

    Raises:
        ValueError: other shapes, dtypes or devices, or an index outside the vertices.
    """
    size = checked_size(size)
    _check_mesh(vertices, triangles)
    _check_sides(two_sided, triangles)
    screen = project_fixed(camera, vertices, size)
    triangle, barycentric = _operators(vertices).hits(screen, triangles, two_sided, size)
    return triangle, barycentric


def interpolate(triangle: Tensor, barycentric: Tensor, triangles: Tensor, values: Tensor) -> Tensor:
    """Return values [V,C] of the vertices at `hits`, [H,W,C]; zero where nothing is hit."""
    corners = values[triangles.long()[triangle.clamp(min=0).long()]]
    return (barycentric[..., None] * corners).sum(-2)


def draw_strands(
    canvas: Canvas,
    camera: Camera,
    points: Tensor,
    colours: Tensor,
    radius: Tensor | float,
    opacity: float,
    soft: float,
    label: int,
) -> Canvas:
    """Draw hair: polylines of round fibres.

    A fibre narrower than a sample counts with its share of the sample, so that coverage does not depend on
    the resolution. All fibres in front of the canvas cover a sample, by 1 - prod(1 - opacity * share); its
    colour is the mean of those within `soft` of the nearest. Where more than half is covered, the canvas
    takes the fibres' depth and label.

    Args:
        canvas: changed in place.
        camera: of the picture.
        points: [S,K,3] in world units, K points of each strand.
        colours: [S,K,3].
        radius: [S] or a number, world units.
        opacity: of a fibre as wide as a sample, in [0,1].
        soft: depth range of the colours that are averaged, world units.
        label: 0 to 255.

    Returns:
        `canvas`.

    Raises:
        ValueError: other shapes, dtypes, devices or ranges.
    """
    check_canvas(canvas)
    check("points", points, torch.float32, (-1, -1, 3), canvas.depth)
    check("colours", colours, torch.float32, points.shape, points)
    if not (0 <= opacity <= 1 and soft >= 0 and 0 <= label <= 255):
        raise ValueError(
            f"opacity {opacity} is not in [0,1], soft {soft} < 0, or label {label} not in [0,255]"
        )
    if not isinstance(radius, Tensor):
        radius = torch.full(points.shape[:1], radius, device=points.device)
    check("radius", radius, torch.float32, points.shape[:1], points)
    if not points.shape[0] or points.shape[1] < 2:
        return canvas
    if not bool((radius >= 0).all()):
        raise ValueError("a radius is negative or not a number")
    screen = project(camera, points, canvas.size)
    diameter = radius * (2 * focal_samples(camera, canvas.size))
    _operators(points).draw_strands(canvas, screen, colours, diameter, opacity, soft, label)
    return canvas


def visibility(
    points: Tensor,
    normals: Tensor | None,
    occluders: Tensor,
    directions: Tensor,
    bias: float,
    extent: float = 1.1,
    centre: tuple[float, float, float] = (0.0, -0.02, 0.0),
    resolution: int = 128,
) -> Tensor:
    """How far each point is lit from each direction, by orthographic depth maps of scattered points.

    Args:
        points: [Q,3] in world units.
        normals: [Q,3] unit length, along which points are moved out by 0.006; None: not moved.
        occluders: [P,3], points dense enough that each cell of the map has one.
        directions: [D,3] unit length, towards the light.
        bias: an occluder shades what lies more than this behind it; the shade is full 0.02 further.
        extent: side of the map, world units.
        centre: of the map.
        resolution: cells along a side of the map, 2 to 4096.

    Returns:
        [D,Q] in [0,1], 1 where lit.

    Raises:
        ValueError: other shapes, dtypes, devices or ranges.
    """
    check("points", points, torch.float32, (-1, 3))
    check("occluders", occluders, torch.float32, (-1, 3), points)
    check("directions", directions, torch.float32, (-1, 3), points)
    if normals is not None:
        check("normals", normals, torch.float32, points.shape, points)
        points = points + _PUSH * normals
    if not (2 <= resolution <= 4096 and extent > 0):
        raise ValueError(f"resolution {resolution} is not in [2,4096], or extent {extent} is not positive")
    if not len(points) or not len(directions):
        return points.new_ones(len(directions), len(points))
    axes = _light_axes(directions, extent, centre, resolution)
    found: Tensor = _operators(points).visibility(
        points.mT.contiguous(), occluders.mT.contiguous(), axes, bias, resolution
    )
    return found


def _light_axes(
    directions: Tensor, extent: float, centre: tuple[float, float, float], resolution: int
) -> Tensor:
    """Rows [D,3,4] that take a position to column, row (cells) and depth towards the light."""
    d = directions.double()
    up = torch.where(d[:, 1:2].abs() < 0.9, d.new_tensor([0.0, 1.0, 0.0]), d.new_tensor([1.0, 0.0, 0.0]))
    u = torch.nn.functional.normalize(torch.linalg.cross(d, up), dim=-1)
    w = torch.linalg.cross(d, u)
    scale = resolution / extent
    axes = torch.stack([u * scale, w * scale, d], dim=1)
    offset = d.new_tensor([0.5 * resolution, 0.5 * resolution, 0.0]) - axes @ d.new_tensor(centre)
    return torch.cat([axes, offset[..., None]], dim=-1).float()


def _check_mesh(vertices: Tensor, triangles: Tensor, canvas: Canvas | None = None) -> None:
    like = vertices
    if canvas is not None:
        check_canvas(canvas)
        like = canvas.depth
    check("vertices", vertices, torch.float32, (-1, 3), like)
    check("triangles", triangles, torch.int32, (-1, 3), vertices)
    if not len(triangles):
        return
    low, high = (int(v) for v in torch.aminmax(triangles))
    if low < 0 or high >= len(vertices):
        raise ValueError(f"triangles have indices {low} to {high}, but there are {len(vertices)} vertices")


def _check_sides(two_sided: Tensor | None, triangles: Tensor) -> None:
    if two_sided is not None:
        check("two_sided", two_sided, torch.bool, triangles.shape[:1], triangles)
