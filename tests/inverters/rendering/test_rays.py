"""Rays and projection are each other's inverse."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.rays import project, rays_at


@settings(max_examples=50)
@given(st.floats(-1, 1), st.floats(-0.6, 0.6), st.floats(0.6, 2.0), st.integers(0, 999))
def test_a_point_on_a_ray_is_seen_at_its_position(yaw: float, pitch: float, zoom: float, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    cameras = look_at(torch.tensor([yaw, -yaw], dtype=torch.float64), torch.tensor([pitch, 0.1]).double())
    intrinsics = default_intrinsics(2).double()
    intrinsics[:, 0, 0] *= zoom
    intrinsics[:, 0, 1] = 0.1  # skew
    uv = torch.rand(2, 7, 2, generator=rng, dtype=torch.float64)
    origins, directions = rays_at(cameras, intrinsics, uv)
    depth = 1 + 3 * torch.rand(2, 7, 1, generator=rng, dtype=torch.float64)
    seen = project(origins + depth * directions, cameras, intrinsics)
    assert torch.allclose(seen, uv, atol=1e-9)
