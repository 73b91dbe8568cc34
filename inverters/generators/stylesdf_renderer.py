"""StyleSDF's volume renderer: a signed distance field of sine layers under FiLM, rendered to features.

After "StyleSDF: High-Resolution 3D-Consistent Image and Geometry Generation" (Or-El et al. 2022). Cameras
have OpenGL axes: x right, y up, the camera looks along -z. Directions of view are those in the camera's own
frame, as the released models have them. Rendering is deterministic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.generators.stylesdf_config import StyleSDFConfig
from inverters.rendering.rays import pixel_centres

FREQUENCY_GAIN, FREQUENCY = 15.0, 30.0
PHASE_GAIN = 0.25
_BETA = 0.1
_EPS = 1e-10


def orbit_poses(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Return poses [N,3,4] (camera to world) on the unit sphere that look at the origin; angles [N], radians.

    A positive azimuth puts the camera at +x, a positive elevation above the face.
    """
    (sa, ca), (se, ce) = (
        (torch.sin(azimuth), torch.cos(azimuth)),
        (torch.sin(elevation), torch.cos(elevation)),
    )
    zero = torch.zeros_like(sa)
    right = torch.stack([ca, zero, -sa], dim=-1)
    up = torch.stack([-sa * se, ce, -ca * se], dim=-1)
    back = torch.stack([sa * ce, se, ca * ce], dim=-1)
    return torch.stack([right, up, back, back], dim=-1)


def calibrations(poses: Tensor, half_fov: float) -> Tensor:
    """Return matrices [N,4,4] from the world to (x, y, z) with -x/z (right) and -y/z (up) in [-1,1] inside.

    z is negative in front of the camera, as in its OpenGL frame.
    """
    rotation = poses[:, :, :3].mT
    moved = torch.cat([rotation, -rotation @ poses[:, :, 3:]], dim=-1)
    moved = moved * moved.new_tensor([1 / math.tan(half_fov), 1 / math.tan(half_fov), 1.0])[:, None]
    return F.pad(moved, (0, 0, 0, 1)) + F.pad(moved.new_ones(1, 1), (3, 0, 3, 0))


class SineLayer(nn.Module):
    """Dense layer and sine; frequency and phase come from a row of the code (FiLM)."""

    def __init__(self, in_features: int, out_features: int, style_dim: int, bound: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_features).uniform_(-1, 1) / math.sqrt(in_features))
        self.gamma = nn.Linear(style_dim, out_features)
        self.beta = nn.Linear(style_dim, out_features)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x [N,M,I] and w [N,D] to [N,M,O]."""
        frequency = FREQUENCY_GAIN * self.gamma(w) + FREQUENCY
        phase = PHASE_GAIN * self.beta(w)
        x = F.linear(x, self.weight, self.bias)
        return torch.sin(torch.addcmul(phase[:, None], frequency[:, None], x))


class SignedDistanceField(nn.Module):
    """Points to a hidden feature, the feature to a signed distance, and with a direction to a colour."""

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        width, style_dim = config.width, config.style_dim
        later = math.sqrt(6 / width) / 25
        self.pts_linears = nn.ModuleList(
            SineLayer(width if k else 3, width, style_dim, later if k else 1 / 3) for k in range(config.depth)
        )
        self.views_linears = SineLayer(width + 3, width, style_dim, later)
        self.rgb_linear = nn.Linear(width, 3)
        self.sigma_linear = nn.Linear(width, 1)

    def hidden(self, points: Tensor, w: Tensor) -> Tensor:
        """Features [N,M,W] of points [N,M,3] in network units, by the code w [N,rows,D]."""
        x = points
        for k, layer in enumerate(self.pts_linears):
            x = layer(x, w[:, k])
        return x

    def distance(self, hidden: Tensor) -> Tensor:
        """Signed distance [N,M] of features [N,M,W]."""
        found: Tensor = self.sigma_linear(hidden)[..., 0]
        return found

    def colour(self, hidden: Tensor, directions: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Raw colour [N,M,3] and features [N,M,W] for unit directions of view [N,M,3]."""
        features = self.views_linears(torch.cat([hidden, directions], dim=-1), w[:, -1])
        return self.rgb_linear(features), features


@dataclass(frozen=True)
class Shape:
    """What the density alone decides about a rendering; h = w = the rendering's size, S samples a ray."""

    points: Tensor  # [N,h,w,S,3] world
    hidden: Tensor  # [N,h,w,S,W] before the colour layer
    distance: Tensor  # [N,h,w,S] signed
    weights: Tensor  # [N,h,w,S]; the last is 1 - the sum of the others: the background
    directions: Tensor  # [N,h,w,3] unit directions of view in the camera's frame
    depth: Tensor  # [N,h,w] along the camera's axis
    surface: Tensor  # [N,h,w,3] expected point in the world


class VolumeRenderer(nn.Module):
    """Renders the signed distance field: density = sigmoid(-distance / beta) / beta."""

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        self.config = config
        self.network = SignedDistanceField(config)
        self.sigmoid_beta = nn.Parameter(torch.full((1,), _BETA))

    def shape(self, w: Tensor, poses: Tensor) -> Shape:
        """Return the geometry of codes w [N,rows,D] seen from poses [N,3,4]."""
        config, n = self.config, len(poses)
        h = config.render_size
        in_camera = self._in_camera(poses)
        rays = in_camera @ poses[:, :, :3].mT
        steps = torch.arange(config.samples, dtype=rays.dtype, device=rays.device)
        step = (config.far - config.near) / config.samples
        depths = config.near + steps * step
        points = poses[:, None, None, :, 3] + rays[:, :, None] * depths[:, None]
        hidden = self.network.hidden((points * config.point_scale).reshape(n, -1, 3), w)
        distance = self.network.distance(hidden).reshape(n, -1, config.samples)
        weights = self._weights(distance, step * rays.norm(dim=-1, keepdim=True))
        directions = F.normalize(in_camera, dim=-1).expand(n, -1, -1)
        return Shape(
            points=points.reshape(n, h, h, config.samples, 3),
            hidden=hidden.reshape(n, h, h, config.samples, -1),
            distance=distance.reshape(n, h, h, -1),
            weights=weights.reshape(n, h, h, -1),
            directions=directions.reshape(n, h, h, 3),
            depth=(weights @ depths).reshape(n, h, h),
            surface=(weights[..., None, :] @ points).reshape(n, h, h, 3),
        )

    def paint(self, shape: Shape, w: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Integrate colours and features over the rays of a shape.

        Args:
            shape: of the same codes.
            w: codes [N,rows,D].
            hidden: replaces `shape.hidden` for the colour; the geometry stays.

        Returns:
            thumbnail [N,3,h,w] in [-1,1] and features [N,W,h,w].
        """
        hidden = shape.hidden if hidden is None else hidden
        n, h, _, samples, width = hidden.shape
        directions = shape.directions[..., None, :].expand(-1, -1, -1, samples, -1)
        raw, features = self.network.colour(hidden.reshape(n, -1, width), directions.reshape(n, -1, 3), w)
        weights = shape.weights[..., None, :]
        rgb = weights @ torch.sigmoid(raw).reshape(n, h, h, samples, 3)
        integrated = weights @ features.reshape(n, h, h, samples, width)
        thumb = 2 * rgb[..., 0, :] - 1
        return thumb.permute(0, 3, 1, 2), integrated[..., 0, :].permute(0, 3, 1, 2)

    def _in_camera(self, like: Tensor) -> Tensor:
        """Directions [1,h*w,3] through the pixels, of length 1 along the camera's axis."""
        h = self.config.render_size
        centres = pixel_centres((h, h), like.dtype, like.device) * 2 - 1
        x, y = (centres * math.tan(self.config.half_fov)).unbind(-1)
        return torch.stack([x, -y, -torch.ones_like(x)], dim=-1)[None]

    def _weights(self, distance: Tensor, lengths: Tensor) -> Tensor:
        """Weights [N,R,S] of the samples of each ray; what the others leave goes to the last."""
        density = torch.sigmoid(-distance / self.sigmoid_beta) / self.sigmoid_beta
        clear = torch.exp(-density * lengths)[..., :-1]
        passed = torch.cumprod(F.pad(clear + _EPS, (1, 0), value=1.0), dim=-1)[..., :-1]
        first = (1 - clear) * passed
        return torch.cat([first, 1 - first.sum(dim=-1, keepdim=True)], dim=-1)
