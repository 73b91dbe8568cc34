"""What E3DGE's local branch needs of a 3D generator, for StyleSDF and for EG3D.

A generator first gives a view: its geometry, and a feature of each sample before the colour. The branch
modulates these features, and the generator paints the view with them. The geometry comes from the code alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.generators.stylesdf import Codes, StyleSDF
from inverters.generators.stylesdf_renderer import calibrations
from inverters.rendering import marching
from inverters.rendering.cameras import from_label
from inverters.rendering.fused import render_rays
from inverters.rendering.planes import mean_features
from inverters.rendering.rays import make_rays, project
from inverters.rendering.sampling import Sampling


@dataclass(frozen=True)
class View:
    """A code seen by a camera: h x w rays of S samples, features of width W."""

    thumb: Tensor  # [N,3,h,w] in about [-1,1]
    depth: Tensor  # [N,1,h,w] StyleSDF: along the camera's axis; EG3D: along the ray
    surface: Tensor  # [N,h,w,3] expected point in the world
    points: Tensor  # [N,h,w,S,3] samples in the world
    hidden: Tensor  # [N,h,w,S,W] features before the colour
    inner: Any  # what the generator's `paint` needs


class Scene(Protocol):
    """A 3D generator with codes and cameras of its own kind."""

    def view(self, codes: Any, camera: Tensor) -> View:
        """Return the view of codes of N pictures by N cameras."""

    def paint(self, view: View, codes: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures [N,3,S,S] and thumbnails [N,3,h,w] of a view with replaced features."""

    def positions(self, points: Tensor, camera: Tensor) -> Tensor:
        """Project world points [N,...,3] to [N,...,2]: x right, y down, in [-1,1] inside the picture."""


@dataclass(frozen=True)
class StyleSDFScene:
    """StyleSDF; a camera is a pose [N,3,4]. Features are those of the last sine layer of the density."""

    generator: StyleSDF

    def view(self, codes: Codes, camera: Tensor) -> View:
        """Return the view of codes by poses [N,3,4]."""
        renderer = self.generator.renderer
        shape = renderer.shape(codes.renderer, camera)
        thumb, _ = renderer.paint(shape, codes.renderer)
        return View(thumb, shape.depth[:, None], shape.surface, shape.points, shape.hidden, shape)

    def paint(self, view: View, codes: Codes, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures [N,3,S,S] and thumbnails [N,3,h,h] of a view with replaced features."""
        thumb, features = self.generator.renderer.paint(view.inner, codes.renderer, hidden)
        return self.generator.decoder(features, codes.decoder), thumb

    def positions(self, points: Tensor, camera: Tensor) -> Tensor:
        """Project world points [N,...,3] to [N,...,2]."""
        matrix = calibrations(camera, self.generator.config.half_fov)
        flat = points.reshape(len(points), -1, 3) @ matrix[:, :3, :3].mT + matrix[:, None, :3, 3]
        found = flat[..., :2] / flat[..., 2:] * flat.new_tensor([-1.0, 1.0])
        return found.reshape(*points.shape[:-1], 2)


@dataclass(frozen=True)
class TriplaneScene:
    """EG3D; codes are ws [N,num_ws,w_dim], a camera is a label [N,25]. Features are the mean plane features.

    The decoder reads the modulated features for the colour, the others for the density.
    """

    generator: Generator
    sampling: Sampling | None = None
    """None: the configuration's."""
    resolution: int | None = None
    """Side of the raw rendering; None: the configuration's."""

    @property
    def _sampling(self) -> Sampling:
        return self.sampling or self.generator.sampling()

    def view(self, codes: Tensor, camera: Tensor) -> View:
        """Return the view of codes by labels [N,25]."""
        generator, config = self.generator, self.generator.config
        size = self.resolution or config.neural_rendering_resolution
        origins, directions = make_rays(*from_label(camera), (size, size))
        planes = generator.planes(codes)
        rays = render_rays(generator.field(planes), origins, directions, self._sampling, want_samples=True)
        depths = cast(Tensor, rays.depths)
        points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
        hidden = mean_features(planes, points.flatten(1, 2), config.box_warp, config.plane_axes)
        surface = origins + directions * rays.depth[..., None]
        grid = (len(codes), size, size)
        return View(
            thumb=rays.features.mT.reshape(len(codes), -1, size, size)[:, :3],
            depth=rays.depth.reshape(len(codes), 1, size, size),
            surface=surface.reshape(*grid, 3),
            points=points.reshape(*grid, -1, 3),
            hidden=hidden.reshape(*grid, -1, hidden.shape[-1]),
            inner=rays.weights,
        )

    def paint(self, view: View, codes: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures [N,3,S,S] and raw pictures [N,3,h,w] of a view with replaced features."""
        n, h, w = hidden.shape[:3]
        _, colours = self.generator.decoder(hidden.reshape(n, h * w, *hidden.shape[3:]))
        weights: Tensor = view.inner  # [N,h*w,S-1] of the intervals between samples
        painted = (marching.to_samples(weights)[..., None, :] @ colours)[..., 0, :]
        if self._sampling.white_back:
            painted = painted + 1 - weights.sum(dim=-1, keepdim=True)
        features = (2 * painted - 1).mT.reshape(n, -1, h, w)
        return self.generator.superresolve(features, codes), features[:, :3]

    def positions(self, points: Tensor, camera: Tensor) -> Tensor:
        """Project world points [N,...,3] to [N,...,2]."""
        uv = project(points.reshape(len(points), -1, 3), *from_label(camera))
        return (2 * uv - 1).reshape(*points.shape[:-1], 2)
