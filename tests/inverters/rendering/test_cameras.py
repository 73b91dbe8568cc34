"""Cameras: equal to the official figures, and true to the conventions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from inverters.rendering import cameras
from inverters.rendering.rays import make_rays, pixel_centres, rays_at
from tests.inverters.generators.rule import GOLDEN, assert_close

angle = st.floats(-1.4, 1.4)


def double(value: object) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "cameras_golden.npz"))


def test_official_sampler(golden: dict[str, np.ndarray]) -> None:
    pitch = torch.from_numpy(math.pi / 2 + golden["grid_pitch"])
    for row, yaw in enumerate(golden["grid_yaw"]):
        found = cameras.eg3d_sampler(math.pi / 2 + yaw, pitch)
        assert_close(found, golden["grid_cam2world"][row], 1e-6)
        found = cameras.eg3d_sampler(math.pi / 2 + yaw, pitch, pivot=(0, 0, 0), radius=1)
        assert_close(found, golden["grid_cam2world_pivot0_r1"][row], 1e-6)


def test_focal_from_field_of_view_and_label(golden: dict[str, np.ndarray]) -> None:
    for degrees, want in zip(golden["fov_deg"], golden["fov_intrinsics"], strict=True):
        assert_close(cameras.fov_intrinsics(float(degrees))[0], want, 1e-5)
    front = cameras.look_at(0.0, 0.0), cameras.fov_intrinsics(18.837)
    assert_close(cameras.to_label(*front)[0], golden["label_front"], 1e-6)
    assert cameras.default_intrinsics(3)[:, 0, 0].tolist() == pytest.approx([4.2647] * 3)


def test_rays_with_skew(golden: dict[str, np.ndarray]) -> None:
    pose, k = (torch.from_numpy(golden[f"rays_{name}"]) for name in ("cam2world", "K"))
    origins, directions = make_rays(pose[None], k, (6, 6))
    assert_close(origins[0], golden["rays_origins"], 1e-6)
    assert_close(directions[0], golden["rays_dirs"], 1e-6)


def test_deep3d_poses_and_their_radius(golden: dict[str, np.ndarray]) -> None:
    turn, shift = (torch.from_numpy(golden[f"d3d_{name}"]).double() for name in ("angle", "trans"))
    assert_close(cameras.deep3d_rotation(turn), golden["d3d_rotation"], 1e-6)
    raw = cameras.deep3d_pose(turn, shift)
    assert_close(raw, golden["d3d_pose_raw"], 1e-6)
    for rule in ("orig", "cor", "simplify"):
        assert_close(cameras.set_radius(raw, rule), golden[f"d3d_pose_{rule}"], 1e-6)
    placed = cameras.set_radius(raw)
    k = torch.from_numpy(golden["d3d_intrinsics"])
    assert_close(k, cameras.default_intrinsics()[0].numpy(), 1e-5)
    assert_close(cameras.to_label(placed, k), golden["d3d_label_orig"], 1e-6)
    assert_close(cameras.mirror(placed), golden["d3d_pose_orig_mirror"], 1e-6)
    assert_close(cameras.to_label(cameras.mirror(placed), k), golden["d3d_label_orig_mirror"], 1e-6)


@given(yaw=angle, pitch=angle)
def test_look_at_has_true_angles_and_sees_its_pivot_in_the_middle(yaw: float, pitch: float) -> None:
    pose = cameras.look_at(double(yaw), double(pitch))
    found_yaw, found_pitch = cameras.angles(pose)
    assert float(found_yaw) == pytest.approx(yaw, abs=1e-9)
    assert float(found_pitch) == pytest.approx(pitch, abs=1e-9)
    rotation, position = pose[0, :3, :3], pose[0, :3, 3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3).double(), atol=1e-9)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1)
    assert float(position.norm()) == pytest.approx(2.7)
    local = rotation.T @ (double(cameras.PIVOT) - position)
    assert local[:2].abs().max() < 1e-9
    assert local[2] > 0
    assert rotation[1, 0].abs() < 1e-9  # no roll
    assert rotation[1, 1] < 0  # image down is world down


def test_signs_of_the_angles() -> None:
    right, above = cameras.look_at([0.3, 0.0], [0.0, 0.3])[:, :3, 3]
    assert right[0] > 0 and right[1] == 0
    assert above[1] > 0 and above[0] == 0


@given(yaw=angle, pitch=angle)
def test_mirroring_negates_yaw_and_twice_is_nothing(yaw: float, pitch: float) -> None:
    pose = cameras.look_at(yaw, pitch)
    assert torch.allclose(cameras.mirror(pose), cameras.look_at(-yaw, pitch), atol=1e-6)
    assert torch.equal(cameras.mirror(cameras.mirror(pose)), pose)


def test_labels_round_trip() -> None:
    pose, k = cameras.look_at([0.1, -0.2, 0.3], 0.1), cameras.default_intrinsics(3)
    found = cameras.from_label(cameras.to_label(pose, k))
    assert torch.equal(found[0], pose) and torch.equal(found[1], k)


@given(u=st.floats(0, 1), v=st.floats(0, 1), yaw=angle)
def test_a_ray_projects_back_to_its_pixel(u: float, v: float, yaw: float) -> None:
    pose, k = cameras.look_at(double(yaw), 0.1), cameras.default_intrinsics().double()
    k[0, 0, 1] = 0.03
    origins, directions = rays_at(pose, k, double([[u, v]]))
    world = origins[0, 0] + 2.3 * directions[0, 0]
    local = pose[0, :3, :3].T @ (world - pose[0, :3, 3])
    image = k[0] @ (local / local[2])
    assert image[:2].tolist() == pytest.approx([u, v], abs=1e-9)
    assert float(directions.norm()) == pytest.approx(1)


def test_pixel_centres_run_row_by_row() -> None:
    assert pixel_centres((2, 4))[:5].tolist() == [
        [0.125, 0.25],
        [0.375, 0.25],
        [0.625, 0.25],
        [0.875, 0.25],
        [0.125, 0.75],
    ]


def test_look_at_can_be_differentiated() -> None:
    angles = torch.tensor([[0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: cameras.look_at(a[:, 0], a[:, 1]), angles)
