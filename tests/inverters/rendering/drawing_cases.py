"""Random scenes for the drawing functions, drawn by two backends and compared."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from inverters.rendering import backends
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.drawing import (
    Camera,
    Canvas,
    draw_strands,
    draw_translucent,
    draw_triangles,
    hits,
    new_canvas,
    visibility,
)


def camera(yaw: float = 0.0, pitch: float = 0.0, radius: float = 2.7) -> Camera:
    """EG3D's camera for faces at these angles."""
    return Camera(look_at(yaw, pitch, radius)[0], default_intrinsics()[0])


def sphere(rings: int, sectors: int, radius: float = 0.2) -> tuple[Tensor, Tensor]:
    """A closed mesh about (0, 0, 0.2): vertices [V,3], triangles [T,3]."""
    polar = torch.linspace(0, math.pi, rings + 1)[1:-1, None]
    around = torch.arange(sectors) / sectors * 2 * math.pi
    xyz = (polar.sin() * around.sin(), polar.cos().expand(-1, sectors), polar.sin() * around.cos())
    poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    vertices = torch.cat([torch.stack(xyz, -1).reshape(-1, 3), poles])
    j = torch.arange(sectors)
    rows = torch.arange(rings - 2)[:, None] * sectors
    a, b = rows + j, rows + (j + 1) % sectors
    c, d = a + sectors, b + sectors
    top, last = torch.full_like(j, len(vertices) - 2), (rings - 2) * sectors
    bands = [torch.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))]
    caps = [
        torch.stack([top, j, (j + 1) % sectors], -1),
        torch.stack([top + 1, last + (j + 1) % sectors, last + j], -1),
    ]
    centre = torch.tensor([0.0, 0.0, 0.2])
    return vertices * radius + centre, torch.cat(bands + caps).int()


class Scene:
    """Triangles and strands at random, some degenerate, off the picture or behind the camera."""

    def __init__(self, seed: int, device: str = "cpu", count: int = 200) -> None:
        rng = torch.Generator().manual_seed(seed)
        self._rng, self._device = rng, device
        self.size = (int(self._uniform(1, 80)), int(self._uniform(1, 80)))
        self.camera = camera(*torch.empty(2).uniform_(-0.6, 0.6, generator=rng).tolist(), 1.5)
        centres = torch.randn(count, 1, 3, generator=rng) * self._uniform(0.05, 1.0)
        spread = torch.empty(count, 1, 1).uniform_(-7, 0.5, generator=rng).exp()
        self.vertices = (centres + spread * torch.randn(count, 3, 3, generator=rng)).reshape(-1, 3)
        self.triangles = torch.arange(3 * count).reshape(-1, 3).int()
        self.triangles[::7, 1] = self.triangles[::7, 0]
        self.triangles[1::7] = self.triangles[
            torch.randperm(count, generator=rng)[: len(self.triangles[1::7])]
        ]
        self.rgba = torch.rand(3 * count, 4, generator=rng)
        self.labels = torch.randint(1, 256, (count,), generator=rng).to(torch.uint8)
        self.two_sided = torch.rand(count, generator=rng) < 0.5
        steps = torch.randn(count, 6, 3, generator=rng) * 0.1
        self.strands = centres * 0.3 + steps.cumsum(1)
        self.strands[3, 2] = torch.nan
        self.strands[4] = self.strands[4, :1]
        self.tints = torch.rand(count, 6, 3, generator=rng)
        self.radius = torch.empty(count).uniform_(-11, -3, generator=rng).exp()
        self.background = torch.rand(*self.size, 3, generator=rng)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))

    def _uniform(self, low: float, high: float) -> float:
        return float(torch.empty(()).uniform_(low, high, generator=self._rng))

    def draw(self) -> dict[str, Tensor]:
        """All that the drawing functions return, step by step."""
        found = {}
        canvas = new_canvas(self.size, self.background)
        mesh = (self.vertices, self.rgba[:, :3].contiguous(), self.triangles, self.labels)
        for name, two_sided in (("opaque", self.two_sided), ("again", None)):
            draw_triangles(canvas, self.camera, *mesh, two_sided)
            found |= _copy(name, canvas)
        draw_translucent(canvas, self.camera, self.vertices, self.rgba, self.triangles, self.labels)
        found |= _copy("translucent", canvas)
        canvas = new_canvas(self.size, self.background)
        part = self.triangles[:8]
        draw_triangles(canvas, self.camera, self.vertices, mesh[1], part, self.labels[:8])
        draw_strands(canvas, self.camera, self.strands, self.tints, self.radius, 0.8, 0.02, 9)
        found |= _copy("strands", canvas)
        found["triangle"], found["barycentric"] = hits(
            self.size, self.camera, self.vertices, self.triangles, self.two_sided
        )
        points = self.strands[5:].reshape(-1, 3)
        directions = torch.nn.functional.normalize(self.vertices[:5], dim=1)
        normals = torch.nn.functional.normalize(points, dim=1)
        found["visible"] = visibility(points, normals, points[::3], directions, 0.008, resolution=24)
        return found


def _copy(name: str, canvas: Canvas) -> dict[str, Tensor]:
    return {f"{name} {part}": value.clone() for part, value in vars(canvas).items()}


def reference(draw: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What the reference draws."""
    with backends.using("reference"):
        return draw()


def check_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Coverage, depth and labels are the same to the last bit; sums of fragments differ in their order."""
    for name, value in expected.items():
        if "colour" in name or name in ("barycentric", "visible"):
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=3e-5, msg=name)
        elif name.startswith("strands"):
            # Coverage may cross one half by rounding.
            assert (found[name] != value).float().mean() <= 0.002, name
        else:
            assert torch.equal(found[name], value), name
