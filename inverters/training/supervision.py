"""Training batches of procedural heads: density and colour at points in space.

A batch depends on (seed, step) alone, so that a resumed run gets the batches of an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from inverters.heads.field import Values, radiance, signed_distance
from inverters.heads.params import sample_scores, to_values
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.rays import rays_at

MAX_YAW, MAX_PITCH = 0.65, 0.3
"""Half ranges in radians of the cameras the generator is trained and judged on."""

DISTANCE_SCALE = 0.01
"""World units of signed distance that saturate the density target (one texel of a 128-plane is 0.0078)."""

SEED_STRIDE = 20_000_003
"""Steps between the seeds of two runs; torch's generator reads 32 bits of a seed."""


@dataclass(frozen=True)
class PointSettings:
    """Sizes of one batch: heads, rays a head, and free points a head."""

    heads: int = 4
    rays: int = 640
    free: int = 320


def random_cameras(n: int, rng: torch.Generator) -> Tensor:
    """Return cameras [n,4,4], yaw uniform in +-MAX_YAW and pitch uniform in +-MAX_PITCH."""
    yaw = (torch.rand(n, generator=rng) * 2 - 1) * MAX_YAW
    pitch = (torch.rand(n, generator=rng) * 2 - 1) * MAX_PITCH
    return look_at(yaw, pitch)


def visible_depth(values: Values, origins: Tensor, directions: Tensor, steps: int = 32) -> Tensor:
    """Return the depth [N,R] of the visible surface, by sphere tracing with a fixed number of steps.

    For a few rays of many heads this is faster than `heads.render.trace`, which drops finished rays.
    """
    depth = torch.full(origins.shape[:2], 2.3)
    for _ in range(steps):
        distance = signed_distance(values, origins + directions * depth.unsqueeze(-1))
        depth = (depth + 0.92 * distance).clamp_max(3.4)
    return depth


def spread_scores(n: int, rng: torch.Generator) -> Tensor:
    """Return scores [n,P], normal with deviation 1.15, so that the ends of each range are learned too."""
    return sample_scores(n, rng) * 1.15


def point_batch(settings: PointSettings, rng: torch.Generator) -> dict[str, Tensor]:
    """Draw heads, and points in space with their density target and colour.

    Returns:
        scores [B,P]; points [B,M,3] with target [B,M] = clamp(-signed distance / DISTANCE_SCALE, -1, 1);
        surface [B,R,3], points along rays near the visible surface, with colour [B,R,3] in [0,1], that of the
        point where the ray meets the surface.
    """
    b, r, f = settings.heads, settings.rays, settings.free
    scores = spread_scores(b, rng)
    values = to_values(scores)
    origins, directions = rays_at(random_cameras(b, rng), default_intrinsics(b), _ray_positions(b, r, rng))
    depth = visible_depth(values, origins, directions).unsqueeze(-1)
    hit = origins + directions * depth
    colour = radiance(values, hit)
    near = 0.006 * torch.randn(b, r, 1, generator=rng)
    far = 0.06 * torch.rand(b, r, 1, generator=rng) - 0.03
    before = origins + directions * (2.25 + (depth - 2.25) * torch.rand(b, r, 1, generator=rng))
    free = torch.rand(b, f, 3, generator=rng) - 0.5
    free[:, : f // 2] = _across(hit[:, :: max(1, 2 * r // f)][:, : f // 2], rng)
    surface = hit + directions * near
    points = torch.cat([surface, hit + directions * far, before[:, :f], free], 1)
    target = (-signed_distance(values, points) / DISTANCE_SCALE).clamp(-1, 1)
    return {"scores": scores, "points": points, "target": target, "surface": surface, "colour": colour}


def _across(points: Tensor, rng: torch.Generator) -> Tensor:
    """Points [b,n,3], each moved to a random place along one axis.

    Most of them then lie in free space, where one of the three planes still has the features of the surface.
    """
    axis = torch.randint(3, (*points.shape[:2], 1), generator=rng)
    anywhere = torch.rand(*points.shape[:2], 1, generator=rng) - 0.5
    return points.scatter(2, axis, anywhere)


def _ray_positions(b: int, r: int, rng: torch.Generator) -> Tensor:
    """Random positions [b,r,2] in the picture, in units of its side.

    A quarter lies anywhere and up to 0.2 beyond the border (crops may be framed wider), a quarter about the
    head, half on eyes, nose and mouth.
    """
    quarter = r // 4
    wide = torch.rand(b, quarter, 2, generator=rng) * 1.4 - 0.2
    head = 0.5 + 0.17 * torch.randn(b, quarter, 2, generator=rng)
    spread, middle = torch.tensor([0.085, 0.1]), torch.tensor([0.5, 0.56])
    features = torch.randn(b, r - 2 * quarter, 2, generator=rng) * spread + middle
    return torch.cat([wide, head, features], 1)


class HeadBatches(Dataset[dict[str, Tensor]]):
    """Dataset whose item k is the batch of step `start` + k of the run with `seed`; `stop` ends it."""

    def __init__(self, settings: PointSettings, seed: int, start: int, stop: int) -> None:
        self.settings, self.seed, self.start, self.stop = settings, seed, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    @torch.no_grad()
    def __getitem__(self, item: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed((self.seed * SEED_STRIDE + self.start + item) % 2**32)
        return point_batch(self.settings, rng)
