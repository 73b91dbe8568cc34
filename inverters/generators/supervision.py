"""What the bundled generator learns from: batches of procedural heads with the truth at points and in
image patches.

Every batch is a function of (seed, step) alone, so a run that resumes sees exactly the batches it would
have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from inverters.heads.field import Values, radiance, signed_distance
from inverters.heads.params import NUM_PARAMETERS, sample_scores, to_values
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
    """Sizes of one batch: heads, rays a head, and free points a head; image patches of `patch`
    low-resolution pixels."""

    heads: int = 8
    rays: int = 480
    free: int = 320
    patches: int = 0
    patch: int = 32
    upscale: int = 4
    neural_resolution: int = 64


def random_cameras(n: int, rng: torch.Generator) -> Tensor:
    """Cameras [n,4,4] over the trained range: yaw uniform in +-MAX_YAW, pitch uniform in +-MAX_PITCH."""
    yaw = (torch.rand(n, generator=rng) * 2 - 1) * MAX_YAW
    pitch = (torch.rand(n, generator=rng) * 2 - 1) * MAX_PITCH
    return look_at(yaw, pitch)


def visible_depth(values: Values, origins: Tensor, directions: Tensor, steps: int = 32) -> Tensor:
    """Depth [N,R] of the visible surface: sphere tracing with a fixed number of steps for the whole batch
    at once.

    For few rays of many heads this beats `heads.render.trace`, whose bookkeeping pays off on whole images.
    """
    depth = torch.full(origins.shape[:2], 2.3)
    for _ in range(steps):
        distance = signed_distance(values, origins + directions * depth.unsqueeze(-1))
        depth = (depth + 0.92 * distance).clamp_max(3.4)
    return depth


def spread_scores(n: int, rng: torch.Generator) -> Tensor:
    """Scores [n,P], normal with a spread of 1.15 so that the ends of each range are learned too."""
    return sample_scores(n, rng) * 1.15


def point_batch(settings: PointSettings, rng: torch.Generator) -> dict[str, Tensor]:
    """Truth at points of `heads` fresh heads.

    Returns scores [B,P]; points [B,M,3] with target [B,M] = clamp(-signed distance / DISTANCE_SCALE, -1, 1);
    surface [B,R,3] points with colour [B,R,3] in [0,1] (a point a little before or behind the visible
    surface has the
    colour of the surface that its ray meets, which is what the ray integral reads).
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
    surface = hit + directions * near
    points = torch.cat([surface, hit + directions * far, before[:, :f], free], 1)
    target = (-signed_distance(values, points) / DISTANCE_SCALE).clamp(-1, 1)
    return {"scores": scores, "points": points, "target": target, "surface": surface, "colour": colour}


def _ray_positions(b: int, r: int, rng: torch.Generator) -> Tensor:
    """Where rays cross the picture [b,r,2]: a third anywhere, a third about the head, the rest on eyes,
    nose and mouth."""
    third = r // 3
    wide = torch.rand(b, third, 2, generator=rng)
    head = 0.5 + 0.17 * torch.randn(b, third, 2, generator=rng)
    features = torch.randn(b, r - 2 * third, 2, generator=rng) * torch.tensor([0.085, 0.1]) + torch.tensor(
        [0.5, 0.56]
    )
    return torch.cat([wide, head, features], 1).clamp(0, 1)


def patch_batch(settings: PointSettings, rng: torch.Generator) -> dict[str, Tensor]:
    """Image patches of fresh heads: patch_scores [n,P], patch_cam2world [n,4,4], patch_uv [n,p*p,2] of the
    low-resolution
    rays, patch_image [n,3,p*up,p*up] in [-1,1] at full resolution."""
    n, p, up, res = settings.patches, settings.patch, settings.upscale, settings.neural_resolution
    scores = spread_scores(n, rng)
    values = to_values(scores)
    cam2world = random_cameras(n, rng)
    room = res - p
    middle = room / 2 + torch.randn(n, 2, generator=rng) * room / 4
    corner = middle.round().clamp(0, room)
    low = _grid(p, 1) / res + corner[:, None] / res
    high = _grid(p * up, up) / res + corner[:, None] / res
    origins, directions = rays_at(cam2world, default_intrinsics(n), high)
    depth = visible_depth(values, origins, directions).unsqueeze(-1)
    image = radiance(values, origins + directions * depth) * 2 - 1
    return {
        "patch_scores": scores,
        "patch_cam2world": cam2world,
        "patch_uv": low,
        "patch_image": image.transpose(1, 2).reshape(n, 3, p * up, p * up),
    }


def _grid(n: int, per_unit: int) -> Tensor:
    """Pixel centres [n*n,2] as (u, v) in units of low-resolution pixels, row-major."""
    axis = (torch.arange(n) + 0.5) / per_unit
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([u, v], -1).reshape(-1, 2)


class HeadBatches(Dataset[dict[str, Tensor]]):
    """Batch number `step` of a run; see the module's line on determinism."""

    def __init__(self, settings: PointSettings, seed: int, start: int, stop: int) -> None:
        self.settings, self.seed, self.start, self.stop = settings, seed, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    @torch.no_grad()
    def __getitem__(self, item: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed((self.seed * SEED_STRIDE + self.start + item) % 2**32)
        batch = point_batch(self.settings, rng)
        if self.settings.patches:
            batch |= patch_batch(self.settings, rng)
        return batch


__all__ = ["DISTANCE_SCALE", "NUM_PARAMETERS", "HeadBatches", "PointSettings", "patch_batch", "point_batch"]
