"""The correction of cameras: zero changes nothing, units are as documented, gradients find a known pose."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.fitting.pose import NUMBERS, Corrections, refine_cameras
from inverters.rendering.cameras import angles, default_intrinsics, look_at
from inverters.rendering.rays import make_rays

PIVOT = torch.tensor([0.0, 0.0, 0.2])


def unit(place: int, size: float = 1.0) -> torch.Tensor:
    """A pose with one number set."""
    return torch.eye(NUMBERS)[place] * size


def test_zero_keeps_the_cameras() -> None:
    cameras, intrinsics = look_at([0.3, -0.2], [0.1, 0.0]), default_intrinsics(2)
    moved, zoomed = refine_cameras(cameras, intrinsics, torch.zeros(NUMBERS), PIVOT)
    torch.testing.assert_close(moved, cameras)
    torch.testing.assert_close(zoomed, intrinsics)


def test_units_and_pivot() -> None:
    cameras, intrinsics = look_at([0.3], [0.1]), default_intrinsics(1)
    turned, _ = refine_cameras(cameras, intrinsics, unit(1, 2.0), PIVOT)
    relative = turned[0, :3, :3] @ cameras[0, :3, :3].T
    assert math.isclose(math.acos((relative.trace().item() - 1) / 2), 0.1, rel_tol=1e-4)
    far = (turned[0, :3, 3] - PIVOT).norm(), (cameras[0, :3, 3] - PIVOT).norm()
    torch.testing.assert_close(*far)
    shifted, _ = refine_cameras(cameras, intrinsics, unit(3), PIVOT)
    torch.testing.assert_close(shifted[0, :3, 3] - cameras[0, :3, 3], torch.tensor([0.01, 0.0, 0.0]))
    _, zoomed = refine_cameras(cameras, intrinsics, unit(6), PIVOT)
    torch.testing.assert_close(zoomed[0, 0, 0], intrinsics[0, 0, 0] * math.exp(0.05))
    torch.testing.assert_close(zoomed[0, :, 2], intrinsics[0, :, 2])


def test_gradients_find_a_known_correction() -> None:
    cameras, intrinsics = look_at([0.3, -0.2, 0.0], [0.1, 0.0, -0.2]), default_intrinsics(3)
    true = torch.tensor([0.5, -0.4, 0.3, 0.6, -0.5, 0.0, 0.8])

    def rays(pose: torch.Tensor) -> torch.Tensor:
        return torch.cat(make_rays(*refine_cameras(cameras, intrinsics, pose, PIVOT), (4, 4)), dim=-1)

    pose = torch.zeros(NUMBERS, requires_grad=True)
    optimiser = torch.optim.LBFGS([pose], max_iter=100)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (rays(pose) - rays(true)).square().sum() * 1e4
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close(pose.detach(), true, atol=1e-2, rtol=0)


def test_each_frame_takes_its_own_pose() -> None:
    cameras, intrinsics = look_at([0.3, -0.2], [0.1, 0.0]), default_intrinsics(2)
    poses = torch.stack([unit(1, 2.0), unit(6)])
    both = refine_cameras(cameras, intrinsics, poses, PIVOT)
    for k in range(2):
        alone = refine_cameras(cameras[[k]], intrinsics[[k]], poses[k], PIVOT)
        for together, one in zip(both, alone, strict=True):
            torch.testing.assert_close(together[[k]], one)


@settings(max_examples=40)
@given(st.floats(-0.6, 0.6), st.floats(-0.3, 0.3), st.floats(-2, 2), st.floats(-2, 2))
def test_two_numbers_turn_the_camera_without_roll(at: float, above: float, turn: float, rise: float) -> None:
    cameras, intrinsics = look_at([at], [above]), default_intrinsics(1)
    turned, same = refine_cameras(cameras, intrinsics, torch.tensor([turn, rise]), PIVOT)
    assert torch.equal(same, intrinsics)
    torch.testing.assert_close(turned[0, 1, 0], torch.tensor(0.0), atol=1e-5, rtol=0)
    seen = cameras.clone(), turned.clone()
    for camera in seen:
        camera[:, :3, 3] -= PIVOT
    (yaw, pitch), after = (angles(camera) for camera in seen)
    torch.testing.assert_close(after, (yaw + 0.05 * turn, pitch + 0.05 * rise), atol=1e-4, rtol=0)


@settings(max_examples=30)
@given(frames=st.integers(1, 40), every=st.integers(0, 12))
def test_knots_carry_a_straight_path_exactly(frames: int, every: int) -> None:
    table = Corrections(frames, every, 1, torch.device("cpu"))
    count = len(table.values)
    spacing = (frames - 1) / max(count - 1, 1)
    assert count == 1 if every == 0 else spacing <= every
    table.values[:, 0] = torch.arange(count) * spacing
    straight = torch.arange(frames) if count > 1 else torch.zeros(1)
    torch.testing.assert_close(table.all_poses()[:, 0], straight.float())


def test_a_frame_moves_the_knots_beside_it_alone() -> None:
    table = Corrections(9, 4, NUMBERS, torch.device("cpu"))
    rows = torch.tensor([1, 4])
    knots = table.knots(rows)
    assert knots.tolist() == [0, 1]
    leaf = table.leaf(knots)
    table.poses(rows, knots, leaf)[0].sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad[:, 0], torch.tensor([0.75, 0.25]))
    assert Corrections(9, 1, NUMBERS, torch.device("cpu")).knots(rows).tolist() == rows.tolist()
