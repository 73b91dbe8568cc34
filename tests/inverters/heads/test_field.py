"""The field: signs, slopes, symmetry, backdrop, and that every parameter is seen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.heads.anatomy import EYE_Y, EYE_Z, UNITS, eye_frame
from inverters.heads.field import BACKDROP_RADIUS, radiance, signed_distance
from inverters.heads.paint import backdrop_color
from inverters.heads.params import NUM_PARAMETERS, PARAMETERS, index, sample_scores, to_values
from inverters.heads.render import trace
from inverters.rendering.cameras import look_at
from inverters.rendering.rays import make_rays

INTRINSICS = torch.tensor([[4.2647, 0.0, 0.5], [0.0, 4.2647, 0.5], [0.0, 0.0, 1.0]])


def values_of(n=1, seed=0, dtype=torch.float32, **scores):
    """Values of n random heads (seed None: average heads), with some scores set."""
    rows = torch.zeros(n, NUM_PARAMETERS)
    if seed is not None:
        rows = sample_scores(n, torch.Generator().manual_seed(seed))
    for name, score in scores.items():
        rows[:, index(name)] = score
    return to_values(rows.to(dtype))


def cube(n, m, seed=1, dtype=torch.float32):
    return torch.rand(n, m, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 0.5


@pytest.mark.parametrize(
    ("point", "solid"),
    [
        ((0.0, 0.05, 0.0), True),
        ((0.0, -0.3, -0.05), True),
        ((0.2, -0.42, -0.06), True),
        ((0.0, 0.0, 0.4), False),
        ((0.33, 0.2, 0.1), False),
        ((0.0, 0.45, 0.0), False),
        ((0.0, 0.2, -0.48), True),
        ((0.45, 0.3, -0.3), True),
        ((0.3, 0.3, -0.2), False),
    ],
)
def test_sign_at_known_points(point, solid):
    distance = signed_distance(values_of(20), torch.tensor(point).expand(20, 1, 3))
    assert bool(((distance < 0) == solid).all())


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_slope_is_nearly_one_near_the_surface(seed):
    values = values_of(4, seed, torch.float64)
    points = cube(4, 3000, seed, torch.float64).requires_grad_()
    distance = signed_distance(values, points)
    (slope,) = torch.autograd.grad(distance.sum(), points)
    assert bool(slope.isfinite().all())
    steepness = slope.norm(dim=-1)[distance.abs() < 0.06]
    assert steepness.quantile(0.99) <= 1.3
    assert steepness.median() > 0.85


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_no_solid_lies_nearer_than_the_distance_says(seed):
    values, points = values_of(1, seed), cube(1, 5000, seed)
    distance = signed_distance(values, points)[0]
    outside, inside = points[0, distance > 0], points[0, distance < 0]
    nearest = torch.cdist(outside, inside).amin(dim=1)
    assert ((0.9 * distance[distance > 0]) > nearest).float().mean() < 0.002


def test_everything_stays_where_the_generator_can_hold_it():
    values = values_of(40, 2)
    points = cube(40, 6000, 3)
    inside = signed_distance(values, points) < 0
    assert points[inside][:, 2].max() < 0.285
    head = inside & (points[..., :2].square().sum(-1) > 0) & (points[..., 2] > 0.0)
    assert points[head][:, 0].abs().max() < 0.48


def test_backdrop_is_a_half_cylinder_whose_colour_knows_only_height():
    values = values_of(3, 4)
    angle = torch.linspace(-1.2, 1.2, 9)
    x, z = BACKDROP_RADIUS * angle.sin(), -BACKDROP_RADIUS * angle.cos()
    wall = torch.stack([x, torch.full_like(angle, 0.42), z], -1)
    points = wall.expand(3, 9, 3)
    assert signed_distance(values, points).abs().max() < 1e-4
    colors = radiance(values, points)
    torch.testing.assert_close(colors, backdrop_color(values, points[..., 1]), atol=0.01, rtol=0)
    lower = radiance(values, points - torch.tensor([0.0, 0.5, 0.0]))
    assert (colors - lower).abs().max() > 0.03


def test_radiance_is_a_colour_with_slopes_in_points_and_values():
    scores = sample_scores(2, torch.Generator().manual_seed(6)).requires_grad_()
    points = cube(2, 400, 7).requires_grad_()
    colors = radiance(to_values(scores), points)
    assert colors.shape == (2, 400, 3)
    assert colors.min() >= 0.0 and colors.max() <= 1.0
    total = colors.mean() + signed_distance(to_values(scores), points).mean()
    slopes = torch.autograd.grad(total, [scores, points])
    assert all(bool(s.isfinite().all()) and float(s.abs().max()) > 0 for s in slopes)


def test_single_and_double_precision_agree():
    points = cube(3, 500, 8)
    single, double = values_of(3, 9), {k: v.double() for k, v in values_of(3, 9).items()}
    torch.testing.assert_close(
        signed_distance(single, points), signed_distance(double, points.double()).float(), atol=2e-5, rtol=0
    )


def test_heads_of_a_batch_do_not_mix():
    values, points = values_of(3, 10), cube(3, 300, 11)
    together = radiance(values, points)
    for n in range(3):
        alone = radiance({k: v[n : n + 1] for k, v in values.items()}, points[n : n + 1])
        torch.testing.assert_close(together[n : n + 1], alone, atol=2e-5, rtol=0)


def test_a_head_with_nothing_to_one_side_is_its_own_mirror_image():
    values = values_of(1, None)
    even = {**values, **{k: torch.zeros(1, 1) for k in ("gaze_x", "hair_part", "light_x")}}
    points = cube(1, 4000, 12) * torch.tensor([0.4, 0.8, 0.3]) + torch.tensor([0.0, 0.0, 0.12])
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    here, there = signed_distance(even, points), signed_distance(even, mirrored)
    # Locks of hair are not the same on both sides.
    assert (here - there).abs().max() < 0.012
    assert (here - there).abs().median() < 1e-5
    face = (here.abs() < 0.01) & (points[..., 1] < 0.03)
    assert face.sum() > 30
    gap = (radiance(even, points) - radiance(even, mirrored)).abs().amax(-1)[face]
    # The four taps of the normal are not a mirror image of themselves.
    assert gap.median() < 0.012 and gap.quantile(0.9) < 0.06


@pytest.fixture(scope="module")
def seen():
    """Points [1,M,3] on the visible surface of the average head, nearly from the front."""
    origins, directions = make_rays(look_at(0.1, 0.0).float(), INTRINSICS[None], (72, 72))
    depth = trace(values_of(1, None, glasses=-2.0), origins, directions, 2.0, 3.7).depth
    return origins + depth[..., None] * directions


@pytest.mark.parametrize("name", [p.name for p in PARAMETERS])
def test_every_parameter_changes_what_is_seen(name, seen):
    low, high = (values_of(1, None, **{"glasses": -2.0, name: s}) for s in (-2.0, 2.0))
    moved = (signed_distance(low, seen) - signed_distance(high, seen)).abs().max()
    painted = (radiance(low, seen) - radiance(high, seen)).abs().max()
    assert moved > 0.003 or painted > 0.02


def test_lids_that_close_hide_the_eye():
    ex, radius = eye_frame(values_of(1, None))
    centre = UNITS * torch.tensor([[[ex.item(), EYE_Y, EYE_Z + radius.item()]]])
    open_, shut = values_of(1, None, blink=-1.0, skin=2.0), values_of(1, None, blink=4.5, skin=2.0)
    assert signed_distance(open_, centre).abs() < 0.004
    assert signed_distance(shut, centre) < -0.002
    outward = torch.tensor([0.0, 0.0, 0.0045 * UNITS])
    assert radiance(open_, centre).max() < 0.35
    assert radiance(shut, centre + outward).max() > 0.5


def test_lips_close_and_open():
    between = UNITS * torch.tensor([[[0.0, -0.124, 0.150]]])
    assert signed_distance(values_of(1, None, mouth_open=-2.0, smile=-0.5), between) < 0.0
    assert signed_distance(values_of(1, None, mouth_open=3.0, smile=-0.5), between) > 0.002


def test_glasses_grow_from_nothing_and_four_in_ten_wear_them():
    ex = eye_frame(values_of(1, None))[0].item()
    # The middle of the lower rim.
    rim = UNITS * torch.tensor([[[ex + 0.002, EYE_Y - 0.046, 0.183 - 1.8 * (ex + 0.002) ** 2]]])
    scores = torch.linspace(-2.5, 2.5, 51)
    distance = torch.cat([signed_distance(values_of(1, None, glasses=float(s)), rim) for s in scores])[:, 0]
    assert distance[0] > 0.002 and distance[-1] < -0.002
    assert bool((distance.diff() <= 1e-6).all()) and distance.diff().abs().max() < 0.002
    worn = values_of(2000, 14)["glasses"]
    assert 0.35 < (worn > 0.58).float().mean() < 0.48


@pytest.mark.slow
def test_compiled_field_equals_eager():
    values, points = values_of(2, 15), cube(2, 2048, 16)
    compiled = torch.compile(signed_distance, fullgraph=True)
    torch.testing.assert_close(compiled(values, points), signed_distance(values, points), atol=1e-5, rtol=0)
