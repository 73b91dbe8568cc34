"""Rendering: rays land on the surface, images repeat, occluders come first, a detector sees faces."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.heads.field import BACKDROP_RADIUS, signed_distance
from inverters.heads.paint import backdrop_color
from inverters.heads.params import index, sample_scores, to_values
from inverters.heads.render import render, trace
from inverters.rendering.cameras import look_at
from inverters.rendering.rays import make_rays

LENS = torch.tensor([[4.2647, 0.0, 0.5], [0.0, 4.2647, 0.5], [0.0, 0.0, 1.0]])


def camera(*angles):
    """Cameras [N,4,4] at (yaw, pitch) each, and their intrinsics."""
    poses = torch.cat([look_at(yaw, pitch) for yaw, pitch in angles]).float()
    return poses, LENS.expand(len(angles), 3, 3)


class Ball:
    """A red ball before the mouth."""

    def __init__(self, radius=0.05):
        self.radius = radius

    def signed_distance(self, points):
        return (points - torch.tensor([0.0, -0.1, 0.27])).norm(dim=-1) - self.radius

    def radiance(self, points):
        return torch.tensor([1.0, 0.0, 0.0]).expand_as(points)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.7, 0.7), st.floats(-0.3, 0.3))
def test_every_ray_of_the_crop_lands_on_the_surface(seed, yaw, pitch):
    values = to_values(sample_scores(1, torch.Generator().manual_seed(seed)))
    origins, directions = make_rays(*camera((yaw, pitch)), (24, 24))
    found = trace(values, origins, directions, 2.0, 3.7)
    assert bool(found.hit.all())
    points = origins + found.depth[..., None] * directions
    distance = signed_distance(values, points).abs()
    assert distance.quantile(0.98) < 2e-3
    before = signed_distance(values, points - 0.02 * directions)
    assert (before > -1e-3).float().mean() > 0.98


def test_depth_is_the_first_crossing():
    values = to_values(sample_scores(1, torch.Generator().manual_seed(5)))
    origins, directions = make_rays(*camera((0.2, 0.0)), (16, 16))
    found = trace(values, origins, directions, 2.0, 3.7)
    dense = torch.linspace(2.3, 3.6, 1301)
    points = origins[:, :, None] + dense[:, None] * directions[:, :, None]
    inside = signed_distance(values, points.reshape(1, -1, 3)).reshape(256, -1) < 0
    first = dense[inside.int().argmax(dim=1)]
    assert ((found.depth[0] - first).abs() < 0.004).float().mean() > 0.97


def test_image_ranges_repeat_and_do_not_depend_on_the_batch():
    scores = sample_scores(2, torch.Generator().manual_seed(6))
    poses, lenses = camera((0.3, 0.1), (-0.2, 0.0))
    both = render(scores, poses, lenses, (20, 28))
    assert both.image.shape == (2, 3, 20, 28) and both.depth.shape == both.occluder_mask.shape == (2, 20, 28)
    assert both.image.min() >= -1.0 and both.image.max() <= 1.0
    assert not both.occluder_mask.any()
    second = render(scores[1:], poses[1:], lenses[1:], (20, 28))
    torch.testing.assert_close(both.image[1:], second.image, atol=1e-4, rtol=0)


def test_wide_frames_end_in_the_backdrops_colour():
    scores = sample_scores(1, torch.Generator().manual_seed(7))
    poses, _ = camera((0.0, 0.0))
    wide = torch.tensor([[[1.5, 0.0, 0.5], [0.0, 1.5, 0.5], [0.0, 0.0, 1.0]]])
    image = (render(scores, poses, wide, (24, 24)).image[0] + 1) / 2
    top = backdrop_color(to_values(scores), torch.tensor([[0.5]]))[0, 0]
    torch.testing.assert_close(image[:, 0], top[:, None].expand(3, 24), atol=1e-3, rtol=0)


def test_an_occluder_hides_what_is_behind_it_and_nothing_else():
    scores = sample_scores(1, torch.Generator().manual_seed(8))
    poses, lenses = camera((0.1, 0.0))
    clean, covered = (render(scores, poses, lenses, (40, 40), occluder=o) for o in (None, Ball()))
    mask = covered.occluder_mask[0]
    assert 20 < mask.sum() < 200
    torch.testing.assert_close(covered.image[0][:, ~mask], clean.image[0][:, ~mask], atol=0.05, rtol=0)
    assert torch.equal(
        covered.image[0][:, mask], torch.tensor([1.0, -1.0, -1.0])[:, None].expand(3, int(mask.sum()))
    )
    assert bool((covered.depth[0][mask] < clean.depth[0][mask]).all())
    behind = render(scores, poses, lenses, (40, 40), occluder=Ball(radius=0.0001))
    assert behind.occluder_mask.sum() <= 1


def test_antialiasing_is_the_mean_of_a_finer_image():
    scores = sample_scores(1, torch.Generator().manual_seed(9))
    poses, lenses = camera((0.0, 0.0))
    soft = render(scores, poses, lenses, (16, 16), antialias=True)
    fine = render(scores, poses, lenses, (32, 32))
    torch.testing.assert_close(soft.image, torch.nn.functional.avg_pool2d(fine.image, 2), atol=1e-5, rtol=0)
    assert soft.depth.shape == soft.occluder_mask.shape == (1, 16, 16)


def test_the_head_fills_the_crop_as_in_eg3d():
    scores = torch.zeros(1, sample_scores(1).shape[1])
    result = render(scores, *camera((0.0, 0.0)), (64, 64))
    values = to_values(scores)
    origins, directions = make_rays(*camera((0.0, 0.0)), (64, 64))
    points = (origins[0] + result.depth.reshape(-1, 1) * directions[0]).reshape(64, 64, 3)
    head = points[..., :2].new_ones(64, 64) * (points[..., 2] > -0.3)
    rows, columns = head.any(dim=1).nonzero()[:, 0], head[:40].any(dim=0).nonzero()[:, 0]
    assert rows.min() < 12 and rows.max() == 63
    assert 30 < columns.max() - columns.min() < 56
    assert float(values["gaze_x"]) == 0.0
    assert points[..., 2].min() > -BACKDROP_RADIUS - 0.01


def test_a_closed_eye_shows_no_iris():
    scores = torch.zeros(2, sample_scores(1).shape[1])
    scores[:, index("eye_color")], scores[:, index("glasses")] = 2.5, -2.0
    scores[:, index("skin")] = 1.5
    scores[1, index("blink")] = 4.0
    image = render(scores, *camera((0.0, 0.0), (0.0, 0.0)), (96, 96)).image
    blue = (image[:, 2] - image[:, 0])[:, 36:54, 24:72]
    assert blue[0].max() > 0.1 > blue[1].max()


@pytest.mark.slow
def test_a_detector_finds_faces():
    face_mesh = pytest.importorskip("mediapipe").solutions.face_mesh
    scores = sample_scores(40, torch.Generator().manual_seed(77))
    found = 0
    with face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1) as detector:
        for n in range(40):
            yaw = (0.0, 0.3, 0.5, -0.4)[n % 4]
            image = render(scores[n : n + 1], *camera((yaw, 0.0)), (160, 160)).image[0]
            pixels = ((image + 1) * 127.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()
            found += detector.process(np.ascontiguousarray(pixels)).multi_face_landmarks is not None
    assert found >= 39
