"""Codes of frames fused to those of a clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.encoders.fusion import fused, moving_directions, own_part, smoothed, weights_of
from inverters.generators.card import GeneratorCard
from inverters.rendering.cameras import look_at
from tests.inverters.tiny import CONFIG

W = CONFIG.w_dim


def card(named: bool) -> GeneratorCard:
    rng = torch.Generator().manual_seed(4)
    found = GeneratorCard.default(CONFIG, "faces")
    names = ("smile", "blink", "light_x", "age", "nose_length")
    directions = {name: torch.randn(1, W, generator=rng) for name in names} if named else {}
    spread = torch.rand(W, generator=rng) + 0.2
    return replace(found, w_std=spread, directions=directions, parameters=names if named else ())


def test_moving_directions_are_those_of_expression_and_light() -> None:
    assert len(moving_directions(card(True))) == 3
    assert len(moving_directions(card(False))) == 0


@settings(max_examples=30)
@given(st.integers(1, 6), st.booleans(), st.integers(0, 2**16), st.floats(0, 3))
def test_a_clip_has_one_person(count: int, named: bool, seed: int, sigma: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    ws, weights = torch.randn(count, 3, W, generator=rng), torch.rand(count, generator=rng).double() + 0.01
    known, frames = card(named), np.arange(count) * 2
    found = fused(ws, weights / weights.sum(), frames, known, sigma)
    assert found.shape == ws.shape and torch.isfinite(found).all()
    if named:
        rest = found - own_part(found, known)
        torch.testing.assert_close(rest, rest[:1].expand_as(rest), atol=1e-4, rtol=0)
    elif sigma == 0:
        torch.testing.assert_close(found, ws, atol=1e-5, rtol=0)


def test_an_expression_stays_that_of_its_frame() -> None:
    known = card(True)
    person = torch.randn(1, 2, W, generator=torch.Generator().manual_seed(0))
    smile = known.directions["smile"].reshape(1, 1, W)
    ws = person + torch.tensor([0.0, 1.0, -2.0]).reshape(3, 1, 1) * smile
    found = fused(ws, torch.full((3,), 1 / 3).double(), np.arange(3), known, 0.0)
    torch.testing.assert_close(found, ws, atol=1e-4, rtol=1e-4)


def test_own_part_is_a_projection() -> None:
    known, x = card(True), torch.randn(5, W)
    once = own_part(x, known)
    torch.testing.assert_close(own_part(once, known), once, atol=1e-5, rtol=1e-4)


def test_frames_that_see_less_count_less() -> None:
    cameras = look_at(torch.tensor([0.0, 0.0, 0.9]), torch.zeros(3))
    cover = torch.zeros(3, 16, 16)
    cover[1, 6:, :] = 1
    weights = weights_of(cameras, cover)
    assert torch.isclose(weights.sum(), torch.ones((), dtype=torch.float64))
    assert weights[0] > weights[1] > 0 and weights[0] > weights[2] > 0
    torch.testing.assert_close(weights_of(cameras[:2], torch.ones(2, 16, 16)), torch.full((2,), 0.5).double())


def test_smoothing_keeps_means_and_knows_of_gaps() -> None:
    rows = torch.tensor([[0.0], [1.0], [0.0]])
    assert torch.equal(smoothed(rows, np.arange(3), 0), rows)
    near, far = smoothed(rows, np.arange(3), 1.0), smoothed(rows, np.array([0, 50, 100]), 1.0)
    assert near[1] < 0.9
    torch.testing.assert_close(far, rows)
    same = torch.full((4, 2), 3.0)
    torch.testing.assert_close(smoothed(same, np.arange(4), 2.0), same)
