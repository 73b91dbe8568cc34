"""Batches of stored views: true targets, half of the draws on detail, patches that are parts of pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inverters.generators.eg3d import Generator
from inverters.people.labels import EYE, GLASSES, SKIN
from inverters.rendering.planes import PlaneAxes, mean_features
from inverters.rendering.rays import rays_at
from inverters.training.batches import (
    DISTANCE_SCALE,
    Cameras,
    detail_chances,
    patch_batch,
    point_batch,
)
from inverters.training.losses import point_features
from inverters.training.people_pictures import open_set
from inverters.training.stored_set import Views
from tests.inverters.training.conftest import EYE_CENTRE, RADIUS, TINY


def drawn(folder: Path) -> tuple[Views, Cameras, torch.Tensor, torch.Generator]:
    """Views of three balls, their cameras and chances."""
    views = open_set(folder).draw(3, 3, torch.Generator().manual_seed(0))
    chances = detail_chances(views["label"].flatten(0, 1), views["depth"].flatten(0, 1))
    return views, Cameras.of(views), chances, torch.Generator().manual_seed(1)


def test_half_of_the_draws_lie_on_eyes_and_outlines(ball_set: Path) -> None:
    views, _, chances, _ = drawn(ball_set)
    torch.testing.assert_close(chances.sum(1), torch.ones(9))
    eye = (views["label"].flatten(0, 1).flatten(1) == EYE).float()
    share, area = (chances * eye).sum(1), eye.mean(1)
    assert (share > 0.25 + 0.5 * area - 1e-4).all()


def test_glasses_are_drawn_as_often_as_eyes() -> None:
    label = torch.full((2, 32, 32), SKIN)
    label[0, 10:14, 10:14], label[1, 10:14, 10:14] = EYE, GLASSES
    eyes, glasses = detail_chances(label, torch.ones(2, 32, 32))
    torch.testing.assert_close(glasses, eyes)
    assert glasses.reshape(32, 32)[10:14, 10:14].sum() > 0.25


def test_targets_are_distances_to_the_balls(ball_set: Path) -> None:
    views, cameras, chances, rng = drawn(ball_set)
    points = point_batch(views, cameras, chances, 200, 50, rng)
    # the true distance: to the ball or to the wall, whichever is nearer
    outside = torch.minimum(points.where.norm(dim=-1) - RADIUS, points.where[..., 2] + 0.4)
    truth = (-outside / DISTANCE_SCALE).clamp(-1, 1)
    error = ((points.target - truth).abs() * points.weight).sum() / points.weight.sum()
    assert error < 0.2  # coarse maps: 32 pixels, of half precision
    free = points.target[points.weight > 0] == -1
    assert 0.2 < free.float().mean() < 0.8
    # points moved across free space are free
    moved = points.where[:, -150:]
    known = points.weight[:, -150:] > 0
    assert known.any() and (moved[known].norm(dim=-1) > RADIUS - 0.02).float().mean() > 0.99


def test_colours_are_those_of_the_pixels_that_the_rays_meet(ball_set: Path) -> None:
    views, cameras, chances, rng = drawn(ball_set)
    points = point_batch(views, cameras, chances, 200, 10, rng)
    distance = (points.surface - torch.tensor(EYE_CENTRE)).norm(dim=-1)
    on_ball = points.surface.norm(dim=-1) < RADIUS + 0.02
    dark = points.colour.sum(-1) == 0
    inside, away = on_ball & (distance < 0.07), on_ball & (distance > 0.15)
    assert dark[inside].float().mean() > 0.95
    assert dark[away].float().mean() < 0.05


def test_patches_are_parts_of_pictures_where_their_rays_go(ball_set: Path) -> None:
    views, cameras, chances, rng = drawn(ball_set)
    patches = patch_batch(views, chances, 4, 8, 16, rng)
    assert patches.image.shape == (3, 4, 3, 32, 32) and patches.depth.shape == (3, 4, 8, 8)
    for person in range(3):
        for k in range(4):
            view = patches.view[person, k]
            camera = (c[person, view][None] for c in (cameras.cam2world, cameras.intrinsics))
            origins, directions = rays_at(*camera, patches.uv[person, k])
            points = origins[0] + patches.depth[person, k].reshape(-1, 1) * directions[0]
            on_ball = (points.norm(dim=-1) - RADIUS).abs() < 0.01
            # of the 4 x 4 final pixels of a raw one; the wall is not green, the eye neither
            green = patches.image[person, k, 1].unfold(0, 4, 4).unfold(1, 4, 4).mean((-1, -2)).flatten()
            eye = (points - torch.tensor(EYE_CENTRE)).norm(dim=-1) < 0.13
            assert (green[on_ball & ~eye] > 0.3).float().mean() > 0.9


def test_patches_of_a_render_that_does_not_divide_the_picture(ball_set: Path) -> None:
    views, _, chances, rng = drawn(ball_set)
    patches = patch_batch(views, chances, 2, 12, 24, rng)  # 64 / 24: corners at every third raw pixel
    first = patches.uv[:, :, 0] * 24 - 0.5
    torch.testing.assert_close(first % 3, torch.zeros_like(first), atol=1e-4, rtol=0)
    assert patches.image.shape[-1] == 32


def test_the_inner_part_of_a_patch_is_that_of_the_whole_picture(ball_set: Path) -> None:
    """Super-resolved alone or with the rest it is the same, up to the picture's border too."""
    views, _, chances, rng = drawn(ball_set)
    raw = 32  # of pictures of 64, as the bundled generator's
    config = replace(TINY, superresolution="small2x", neural_rendering_resolution=raw)
    network = Generator(config).superresolution
    features = torch.rand(1, TINY.feature_channels, raw, raw, generator=rng)
    ws = torch.randn(1, TINY.num_ws, TINY.w_dim, generator=rng)
    whole = network.patch(features, ws, raw)
    size = raw * 3 // 4
    patches = patch_batch(views, chances, 20, size, raw, rng)
    up = whole.shape[-1] // raw
    borders = 0
    for uv, (rows, columns) in zip(patches.uv.flatten(0, 1), patches.inner, strict=True):
        x, y = (uv[0] * raw - 0.5).round().long().tolist()
        found = network.patch(features[..., y : y + size, x : x + size], ws, raw)
        wanted = whole[..., y * up : (y + size) * up, x * up : (x + size) * up]
        torch.testing.assert_close(found[..., rows, columns], wanted[..., rows, columns])
        borders += (rows.start == 0) + (columns.stop == size * up)
    assert borders


@pytest.mark.parametrize("axes", ["fixed", "original"])
def test_features_of_points_are_those_of_the_renderer(axes: PlaneAxes) -> None:
    rng = torch.Generator().manual_seed(0)
    planes = torch.randn(2, 3, 4, 16, 16, generator=rng)
    points = (torch.rand(2, 50, 3, generator=rng) - 0.5) * 1.2  # some outside of the cube
    slope = torch.randn(2, 50, 4, generator=rng)
    found = []
    for lookup in (mean_features, point_features):
        leaf = planes.clone().requires_grad_()
        features = lookup(leaf, points, 1.0, axes)
        features.backward(slope)
        found.append((features.detach(), leaf.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
