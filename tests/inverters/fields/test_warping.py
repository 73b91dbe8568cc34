"""Warping by known depths: known pixels where something is visible, nothing where it is hidden."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inverters.fields.warping import Camera, trusted, warp
from inverters.rendering.cameras import default_intrinsics, look_at, looking_from
from inverters.rendering.rays import make_rays, project

SIZE = 64
CARD, BACK, HALF = 0.3, -0.1, 0.08
"""A square card of half width HALF in the plane z = CARD, before the plane z = BACK."""


def camera(yaw: float, pitch: float = 0.0) -> Camera:
    return look_at(yaw, pitch), default_intrinsics()


def points_on(z: float, at: Camera, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Depth [1,1,size,size] of the plane at this z, and the points [1,size,size,3] that a camera sees."""
    origins, directions = make_rays(*at, (size, size))
    depth = (z - origins[..., 2:]) / directions[..., 2:]
    points = origins + depth * directions
    return depth.reshape(1, 1, size, size), points.reshape(1, size, size, 3)


def texture(points: Tensor) -> Tensor:
    """Colours [1,3,h,w] of points [1,h,w,3], the same from everywhere."""
    x, y, z = points.unbind(-1)
    return torch.stack([torch.sin(20 * x), torch.cos(17 * y + 3), torch.sin(9 * (x + y) + z)], 1)


def scene(at: Camera, card: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Depth, points and colours of card and plane; the card is lighter by 5."""
    depth, points = points_on(BACK, at)
    colours = texture(points)
    if card:
        near, corners = points_on(CARD, at)
        on_card = (corners[..., :2].abs() < HALF).all(-1)
        depth = torch.where(on_card[:, None], near, depth)
        points = torch.where(on_card[..., None], corners, points)
        colours = torch.where(on_card[:, None], texture(corners) + 5, colours)
    return depth, points, colours


angle = st.floats(-0.4, 0.4)


@settings(max_examples=25)
@given(angle, angle, angle, angle)
def test_a_plane_is_seen_as_from_the_other_camera(a: float, b: float, c: float, d: float) -> None:
    one, other = camera(a, b), camera(c, d)
    depth, _, image = scene(one, card=False)
    other_depth, points, wanted = scene(other, card=False)
    found, visible, inside = warp(image, depth, one, other_depth, other, 0.01)
    assert torch.equal(visible, inside) and inside.float().mean() > 0.3
    # Nearer than half a pixel to the frame's edge there is nothing to interpolate with.
    at = project(points.reshape(1, -1, 3), *one).reshape(1, 1, SIZE, SIZE, 2)
    between = ((at - 0.5).abs() <= 0.5 - 0.5 / SIZE).all(-1)
    assert (found - wanted).abs().amax(1, keepdim=True)[between].max() < 0.03


def test_what_a_nearer_surface_hides_stays_hidden() -> None:
    one, other = camera(-0.3), camera(0.3)
    depth, _, image = scene(one)
    other_depth, points, wanted = scene(other)
    # The truth: does the way from a point to the first camera pass through the card?
    eye = one[0][0, :3, 3]
    share = (CARD - points[..., 2]) / (eye[2] - points[..., 2])
    crossing = points + share[..., None] * (eye - points)
    hidden = ((share > 1e-4) & (crossing[..., :2].abs() < HALF).all(-1))[:, None]
    found, visible, inside = warp(image, depth, one, other_depth, other, 0.02)
    share = trusted(visible, inside, 3, 51, 21)
    assert hidden.sum() > 100 and not share[hidden].any()
    assert (visible & hidden).sum() <= 4, "but for parts of a pixel at the shadow's edge"
    assert (visible | hidden | ~inside).float().mean() > 0.9
    # Seen is what lies within 0.02 of a step of 0.4: a twentieth of a colour may be a neighbour's.
    assert (found - wanted).abs().amax(1, keepdim=True)[share > 0].max() < 0.35
    on_card = wanted[:, :1] > 3
    assert share[on_card].mean() > 0.3 and share[~on_card & ~hidden & inside].mean() > 0.3


def test_from_where_it_was_taken_a_picture_is_itself() -> None:
    at = camera(0.2, -0.1)
    image = torch.rand(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    depth = 2.3 + torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    found, visible, inside = warp(image, depth, at, depth, at, 1e-4)
    assert visible.all() and inside.all()
    torch.testing.assert_close(found, image, atol=2e-4, rtol=0)
    assert (trusted(visible, inside, 3, 51, 21) == 1).all()


def test_nothing_behind_a_camera_is_seen() -> None:
    away = looking_from(torch.tensor([[0.0, 0.0, 1.0]]), (0.0, 0.0, 5.0)), default_intrinsics()
    front = camera(0.0)
    depth, _, image = scene(front)
    _, visible, inside = warp(image, depth, away, depth, front, 10.0)
    assert not visible.any() and not inside.any()


def test_gradients_reach_the_picture() -> None:
    one, other = ((a.double(), b.double()) for a, b in (camera(-0.1), camera(0.15)))
    depth, other_depth = (points_on(BACK, at, 6)[0] for at in (one, other))
    image = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: warp(x, depth, one, other_depth, other, 0.01)[0], image)


@settings(max_examples=25)
@given(st.integers(0, 9999), st.sampled_from([32, 64, 128]), st.floats(0.5, 0.99))
def test_trust_lies_within_what_is_visible(seed: int, size: int, share: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 1, 2, 8, 8, generator=rng) < share
    visible, inside = (
        coarse[:, :, k].float().repeat_interleave(size // 8, 2).repeat_interleave(size // 8, 3) > 0
        for k in range(2)
    )
    found = trusted(visible, inside, 3, 51, 21)
    assert found.min() >= 0 and found.max() <= 1 and not found[~(visible & inside)].any()


def test_windows_are_opencvs_as_released() -> None:
    cv2 = pytest.importorskip("cv2")
    rows, columns = torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij")
    visible = ((rows - 200) ** 2 + (columns - 300) ** 2 < 150**2) & (columns != 250)
    inside = columns + rows // 8 < 400
    mask = cv2.erode(visible.float().numpy(), np.ones((3, 3), np.uint8))
    mask = mask * cv2.erode(inside.float().numpy(), np.ones((51, 51), np.uint8))
    wanted = mask * np.clip(2 * cv2.GaussianBlur(mask, (21, 21), 0) - 1, 0, None)
    found = trusted(visible[None, None], inside[None, None], 3, 51, 21)[0, 0]
    torch.testing.assert_close(found, torch.from_numpy(wanted), atol=1e-5, rtol=0)
