"""Occluders: their fields are distances, their masks are exact, and they hide what they are meant to hide."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.errors import UnknownNameError
from inverters.heads.field import signed_distance
from inverters.heads.occluders import OCCLUDERS, animate_occluder, make_occluder
from inverters.heads.params import index, sample_scores, to_values
from inverters.heads.render import render
from inverters.rendering.cameras import default_intrinsics, look_at

NAMES = list(OCCLUDERS)
SIZE = (48, 48)


def head(seed: int = 3) -> torch.Tensor:
    scores = 0.7 * sample_scores(1, torch.Generator().manual_seed(seed))
    scores[:, index("glasses")] = -1.2
    scores[:, index("blink")] = -1.0
    return scores


def drawn_state(name: str, seed: int, frames: int = 1) -> dict[str, torch.Tensor]:
    times = torch.arange(frames, dtype=torch.float64) / 15 + 0.8
    return animate_occluder(name, times, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_distance_never_overshoots(name: str, seed: int) -> None:
    """No surface lies nearer to any point than the field says there, so sphere tracing cannot pass it."""
    rng = torch.Generator().manual_seed(seed)
    occluder = make_occluder(name, to_values(head(seed)), drawn_state(name, seed))
    points = torch.rand(1, 400, 3, generator=rng) - 0.5
    distance = occluder.signed_distance(points)
    way = torch.nn.functional.normalize(torch.randn(1, 400, 3, generator=rng), dim=-1)
    moved = occluder.signed_distance(points + way * distance.clamp_min(0)[..., None] * 0.95)
    outside = distance > 0
    assert torch.isfinite(distance).all()
    assert moved[outside].min() > -2e-3


@pytest.mark.parametrize("name", NAMES)
def test_mask_is_where_the_picture_changes(name: str) -> None:
    """Off the mask the picture is the clean one to the bit; on it, it is another picture."""
    scores, camera = head(), look_at(0.15, 0.05)
    state = drawn_state(name, 5) | ({"travel": torch.zeros(1, 1)} if name == "hand" else {})
    occluder = make_occluder(name, to_values(scores), state)
    clean = render(scores, camera, default_intrinsics(), SIZE)
    covered = render(scores, camera, default_intrinsics(), SIZE, occluder=occluder)
    mask = covered.occluder_mask[0]
    change = (covered.image - clean.image).abs().amax(1)[0]
    assert 0.01 < mask.float().mean() < 0.5
    assert not clean.occluder_mask.any()
    # a ray that grazes the occluder lands a hair elsewhere on the head behind it
    assert (change[~mask] > 0.02).float().mean() < 0.02
    assert change[mask].mean() > 0.1
    assert (covered.depth <= clean.depth + 2e-3)[0][mask].all()


@pytest.mark.parametrize(
    ("name", "hidden", "free"),
    [
        ("mask", (0.0, -0.125, 0.175), (0.071, 0.015, 0.16)),
        ("sunglasses", (0.071, 0.012, 0.155), (0.0, -0.125, 0.175)),
        ("hat", (0.0, 0.26, 0.10), (0.0, -0.125, 0.175)),
    ],
)
def test_hides_what_it_should(name: str, hidden: tuple[float, ...], free: tuple[float, ...]) -> None:
    """From the front, the ray to one point of the face (design units) meets the occluder, to another not."""
    scores = head()
    values = to_values(scores)
    occluder = make_occluder(name, values)
    for point, expected in ((hidden, True), (free, False)):
        target = 0.8 * torch.tensor(point)
        along = torch.linspace(0.8, 1, 2000)[:, None]
        start = torch.tensor([0.0, 0.0, 2.7])
        distance = occluder.signed_distance((start + along * (target - start))[None])
        assert bool((distance < 0).any()) is expected


def test_mask_follows_the_face() -> None:
    """The drape stays on the skin of narrow and broad faces, short and long noses, closed and open mouths."""
    scores = head().repeat(2, 1)
    for name in ("face_width", "nose_length", "chin", "jaw", "cheeks", "mouth_open"):
        scores[:, index(name)] = torch.tensor([-2.0, 2.0])
    values = to_values(scores)
    occluder = make_occluder("mask", values)
    points = torch.rand(2, 60_000, 3, generator=torch.Generator().manual_seed(0)) * 0.5 - 0.25
    inside_panel = (occluder.signed_distance(points) < 0) & (points[..., 0].abs() < 0.08)
    inside_panel &= points[..., 2] > 0.08
    to_head = signed_distance(values, points)
    for n in range(2):
        near = to_head[n][inside_panel[n]]
        assert len(near) > 20
        assert near.min() > -0.012  # not buried in the face
        assert near.max() < 0.05  # nor floating before it


def test_paint_lies_on_the_skin() -> None:
    values = to_values(head())
    points = torch.rand(1, 200_000, 3, generator=torch.Generator().manual_seed(0)) * 0.5 - 0.25
    outside = signed_distance(values, points)[0] > 0.003
    assert not (make_occluder("paint", values).signed_distance(points)[0][outside] < 0).any()


def test_hand_crosses_the_face() -> None:
    times = torch.linspace(0, 2, 20, dtype=torch.float64)
    travel = animate_occluder("hand", times, torch.Generator().manual_seed(1))["travel"][:, 0]
    assert travel[0] > 0.8
    assert travel.min() < -0.2
    assert (travel.diff().abs() < 0.35).all()


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_heads(name: str) -> None:
    """An occluder of several heads is, row by row, the occluder of each."""
    scores = torch.cat([head(1), head(2)])
    state = drawn_state(name, 4, frames=2)
    both = make_occluder(name, to_values(scores), state)
    points = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    together, colours = both.signed_distance(points), both.radiance(points)
    for n in range(2):
        alone = both.row(n)
        torch.testing.assert_close(alone.signed_distance(points[n : n + 1])[0], together[n])
        torch.testing.assert_close(alone.radiance(points[n : n + 1])[0], colours[n], atol=1e-4, rtol=1e-4)
    assert colours.min() >= 0
    assert colours.max() <= 1


def test_names_that_do_not_exist() -> None:
    values = to_values(head())
    with pytest.raises(UnknownNameError, match=r"scarf.*sunglasses"):
        make_occluder("scarf", values)
    with pytest.raises(KeyError, match=r"hue.*pleats"):
        make_occluder("mask", values, {"hue": torch.zeros(1, 1)})
