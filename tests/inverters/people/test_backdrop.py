"""The backdrop lies where the generator's tri-planes can hold it."""

from __future__ import annotations

import pytest
import torch

from inverters.people.backdrop import RADIUS, meet
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.rays import make_rays


def ends(yaw: float, pitch: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the rays of a camera meet the backdrop, and their depths."""
    camera = look_at(torch.tensor([yaw]), torch.tensor([pitch]))
    origins, directions = make_rays(camera, default_intrinsics(1), (24, 24))
    depth = meet(origins, directions)
    return (origins + depth[..., None] * directions)[0], depth[0]


@pytest.mark.parametrize("yaw", [-0.65, -0.5, 0.0, 0.3, 0.65])
def test_the_generators_cube_holds_it_from_every_camera(yaw: float) -> None:
    points, depth = ends(yaw)
    assert torch.isfinite(depth).all()
    assert points[:, [0, 2]].abs().max() <= 0.5
    assert points[:, [0, 2]].norm(dim=-1).max() <= RADIUS + 1e-5


def test_it_is_one_wall_without_a_seam() -> None:
    depth = ends(0.6)[1].reshape(24, 24)
    assert depth.diff(dim=1).abs().max() < 0.1


def test_rays_that_leave_the_scene_meet_nothing() -> None:
    forward = torch.tensor([[0.0, 0.0, 1.0]])
    assert torch.isinf(meet(torch.tensor([[0.0, 0.0, 2.0]]), forward)).all()
