"""Targets by row: resampling, masks, rays, and the order in which frames are visited."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.fitting.targets import Targets, at_pixels, frames_of_step, random_pixels, resized
from inverters.rendering.rays import make_rays, project
from tests.inverters.tiny import own_clip, tiny_generator


@settings(max_examples=60)
@given(st.integers(1, 23), st.integers(1, 30), st.integers(0, 99))
def test_an_epoch_visits_every_frame_and_no_step_one_twice(per_step: int, count: int, seed: int) -> None:
    steps = -(-count // min(per_step, count))
    seen: set[int] = set()
    for i in range(steps):
        rows = frames_of_step(7 * steps + i, per_step, count, seed).tolist()
        assert len(set(rows)) == len(rows) == min(per_step, count)
        seen |= set(rows)
    assert seen == set(range(count))


def test_epochs_are_shuffled_differently_and_repeatably() -> None:
    orders = [torch.cat([frames_of_step(e * 5 + i, 2, 10, 1) for i in range(5)]).tolist() for e in range(4)]
    assert len({tuple(o) for o in orders}) == 4
    assert orders[2] == torch.cat([frames_of_step(10 + i, 2, 10, 1) for i in range(5)]).tolist()


def test_raw_targets_are_area_means_and_masks_follow() -> None:
    problem = own_clip(tiny_generator(), 3, occluder=True)
    targets = Targets(problem, 16, torch.device("cpu"))
    rows = torch.tensor([2, 0])
    pixels = torch.from_numpy(problem.crops[[2, 0]]).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = pixels.reshape(2, 3, 16, 2, 16, 2).mean((3, 5))
    assert torch.allclose(targets.raw(rows), expected, atol=0.005)
    assert torch.allclose(targets.image(rows), pixels)
    keep = targets.keep(rows)
    assert keep[:, 9, 8].eq(0).all() and keep[:, 2, 2].eq(1).all()


@pytest.mark.parametrize(("shares", "passes"), [((0, 0, 10), True), ((8, 8, 8), False), ((8, 9, 8), False)])
def test_a_cover_passes_where_its_share_changes(shares: tuple[int, int, int], passes: bool) -> None:
    problem = own_clip(tiny_generator(), 3, occluder=True)
    masks = np.full((3, 32, 32), 255, np.uint8)
    for mask, rows in zip(masks, shares, strict=True):
        mask[:rows] = 0
    assert Targets(replace(problem, occluder_masks=masks), 16, torch.device("cpu")).cover_passes() is passes
    assert not Targets(replace(problem, occluder_masks=None), 16, torch.device("cpu")).cover_passes()


def test_rays_of_all_pixels_are_those_of_the_image() -> None:
    problem = own_clip(tiny_generator(), 2)
    targets = Targets(problem, 16, torch.device("cpu"))
    rows = torch.tensor([1])
    pixels = random_pixels(1, 0, 16, torch.Generator())
    for ours, theirs in zip(
        targets.rays(rows, pixels),
        make_rays(problem.cam2world[[1]], problem.intrinsics[[1]], (16, 16)),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-6)
    image = torch.arange(2 * 256.0).reshape(1, 2, 16, 16)
    assert at_pixels(image, torch.tensor([[17, 3]]))[0].tolist() == [[17.0, 273.0], [3.0, 259.0]]


def test_pixels_are_drawn_about_what_the_cameras_see() -> None:
    problem = own_clip(tiny_generator(), 3)
    targets = Targets(problem, 16, torch.device("cpu"))
    rows, rng = torch.tensor([2, 0]), torch.Generator().manual_seed(0)
    point = torch.tensor([[0.06, 0.1, 0.15]])
    pixels = targets.pixels_near(rows, point, 400, rng)
    assert pixels.shape == (2, 400) and pixels.min() >= 0 and pixels.max() < 256
    origins, directions = targets.rays(rows, pixels)
    across = torch.linalg.cross(point - origins, directions).norm(dim=-1)  # of ray and point
    assert across.median() < 0.06 and len(pixels.unique()) > 10
    outside = targets.pixels_near(rows, point + 5, 10, rng)
    assert outside.min() >= 0 and outside.max() < 256


@pytest.mark.parametrize("size", [8, 12, 20])
def test_resizing_keeps_the_mean(size: int) -> None:
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    assert resized(image, size).mean().item() == pytest.approx(image.mean().item(), abs=0.02)


def test_sources_are_read_by_row_not_whole() -> None:
    """A clip's crops may be far larger than memory: only the rows asked for are read."""

    class Recorder:
        asked: list[int]

        def __init__(self) -> None:
            self.asked = []

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            self.asked += rows.tolist()
            return np.zeros((len(rows), 32, 32, 3), np.uint8)

    problem = own_clip(tiny_generator(), 2)
    source = Recorder()
    long = type(problem)(
        crops=source,
        frames=np.arange(1000),
        cam2world=problem.cam2world[:1].expand(1000, 4, 4),
        intrinsics=problem.intrinsics[:1].expand(1000, 3, 3),
    )
    targets = Targets(long, 16, torch.device("cpu"))
    targets.raw(torch.tensor([7, 900]))
    targets.raw(torch.tensor([7]))
    assert source.asked == [7, 900]


def test_pixels_near_points_are_those_within_reach() -> None:
    problem = own_clip(tiny_generator(), 2)
    targets = Targets(problem, 16, torch.device("cpu"))
    points = torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.05, 0.1]])
    rows = torch.tensor([1, 0])
    mask = targets.near(rows, points, 0.1, 32)
    assert mask.shape == (2, 1, 32, 32)
    for k, row in enumerate(rows.tolist()):
        seen = project(points, problem.cam2world[[row]], problem.intrinsics[[row]])[0]
        for i, j in itertools.product(range(16), range(16)):
            centre = torch.tensor([(j + 0.5) / 16, (i + 0.5) / 16])
            within = bool(((seen - centre).norm(dim=1) < 0.1).any())
            assert mask[k, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].eq(float(within)).all()
