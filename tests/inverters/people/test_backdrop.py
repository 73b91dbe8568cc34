"""The backdrop lies where the generator's tri-planes can hold it."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
import torch

from inverters.people.backdrop import RADIUS, colour, meet
from inverters.people.params import NUM_PARAMETERS, to_values
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


def test_a_polynomial_of_its_numbers_tells_every_places_colour() -> None:
    """What a generator has to learn is smooth: with shapes of several periods the worst place had 0.19."""
    people, rng = 1200, torch.Generator().manual_seed(0)
    numbers = 2 * torch.rand(people, 4, generator=rng) - 1
    values = to_values(torch.zeros(people, NUM_PARAMETERS)) | {"background_depth": torch.ones(people, 1)}
    values |= {f"background_{k + 1}": numbers[:, [k]] for k in range(4)}
    x, y = torch.meshgrid(torch.linspace(-0.47, 0.47, 24), torch.linspace(-0.4, 0.4, 5), indexing="xy")
    points = torch.stack([x, y, torch.zeros_like(x)], -1)
    seen = torch.stack([colour(values, row, points).mean(-1).flatten() for row in range(people)])
    powers = [c for degree in range(1, 6) for c in combinations_with_replacement(range(4), degree)]
    terms = torch.stack([torch.ones(people), *(numbers[:, list(c)].prod(1) for c in powers)], 1)
    known, new = slice(0, people // 2), slice(people // 2, people)
    told = terms[new] @ torch.linalg.lstsq(terms[known], seen[known]).solution
    explained = 1 - (told - seen[new]).square().mean(0) / seen[new].var(0)
    assert explained.min() > 0.95
