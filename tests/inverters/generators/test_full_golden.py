"""The exact FFHQ 512-128 architecture, its weights by rule, against the official implementation's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.rendering.cameras import eg3d_sampler, fov_intrinsics, to_label
from inverters.rendering.rays import pixel_centres, rays_at
from inverters.rendering.sampling import Sampling
from tests.inverters.generators.rule import FULL, GOLDEN, assert_close, assert_stats, rule_weights

YAWS = {"front": 0.0, "yaw": 0.4}
Golden = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return dict(np.load(GOLDEN / "eg3d_full_rule_golden.npz"))


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    yield rule_weights(FULL, -12.0)


@pytest.fixture(scope="module")
def ws(generator: Generator) -> Tensor:
    z = torch.from_numpy(np.random.RandomState(0).randn(2, 512)[:1].astype(np.float32))
    return generator.mapping(z, to_label(*camera("front")), truncation_psi=0.7)


@pytest.fixture(scope="module")
def planes(generator: Generator, ws: Tensor) -> Tensor:
    return generator.planes(ws)


def camera(name: str) -> tuple[Tensor, Tensor]:
    return eg3d_sampler(np.pi / 2 + YAWS[name], np.pi / 2), fov_intrinsics(18.837)


def test_size_of_the_official_generator(generator: Generator) -> None:
    tensors = generator.state_dict()
    assert (len(tensors), sum(t.numel() for t in tensors.values())) == (176, 31_493_160)


def test_mapping_and_planes(golden: Golden, ws: Tensor, planes: Tensor) -> None:
    assert_close(ws, golden["ws_psi07"], 1e-5)
    stacked = planes.reshape(1, 96, 256, 256)
    assert_close(stacked[..., ::16, ::16], golden["planes_const_s16"], 5e-5)
    assert_stats(stacked[0], golden["planes_const_stats"], 1e-5)


@pytest.mark.parametrize("name", ["front", pytest.param("yaw", marks=pytest.mark.slow)])
def test_raw_view(generator: Generator, golden: Golden, planes: Tensor, name: str) -> None:
    uv = pixel_centres((128, 128)).reshape(128, 128, 2)[::2, ::2].reshape(-1, 2)
    found = generator.render_rays(planes, *rays_at(*camera(name), uv))
    features = found.features[0].T.reshape(32, 64, 64)
    assert_close(features[:3], golden[f"grid_image_raw_{name}"], 2e-3)
    assert_close(features[:, ::4, ::4], golden[f"grid_feature_{name}"], 2e-3)
    assert_close(found.depth[0].reshape(64, 64), golden[f"grid_depth_{name}"], 2e-3)
    assert_close(found.opacity[0].reshape(64, 64), golden[f"grid_wsum_{name}"], 2e-3)


def test_image_from_a_smaller_rendering(
    generator: Generator, golden: Golden, ws: Tensor, planes: Tensor
) -> None:
    found = generator.synthesis(ws, *camera("front"), resolution=64, planes=planes)
    assert_close(found.image[0, :, ::8, ::8], golden["nrr64_final_front"], 2e-3)
    assert_stats(found.image[0], golden["nrr64_final_stats_front"], 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", YAWS)
def test_image(generator: Generator, golden: Golden, ws: Tensor, planes: Tensor, name: str) -> None:
    found = generator.synthesis(ws, *camera(name), planes=planes)
    assert_stats(found.features[0], golden[f"grid_feature_stats_{name}"], 1e-4)
    assert_close(found.image[0, :, ::8, ::8], golden[f"final_const_{name}"], 2e-3)
    assert_stats(found.image[0], golden[f"final_const_stats_{name}"], 1e-4)
    if name == "front":
        assert_close(found.image[0, :, 224:288, 224:288], golden["final_const_crop_front"], 2e-3)
        last = ws[:, -1:].expand(-1, 3, -1)
        x, image = generator.superresolution.block0(found.features, found.image_raw, last, "none")
        assert_close(x[0, :, ::32, ::32], golden["sr_block0_x_front"], 2e-3)
        assert_close(image[0, :, ::8, ::8], golden["sr_block0_img_front"], 2e-3)


@pytest.mark.slow
def test_gradients(generator: Generator, golden: Golden, ws: Tensor) -> None:
    ws = ws.clone().requires_grad_()
    made = generator.planes(ws)
    planes = made.detach().requires_grad_()
    weight = torch.from_numpy(np.random.RandomState(7).randn(1, 3, 128, 128).astype(np.float32)).flatten(2).mT
    origins, directions = rays_at(*camera("front"), pixel_centres((128, 128)))
    loss = 0.0
    for rows in torch.arange(128 * 128).split(4096):
        part = generator.render_rays(planes, origins[:, rows], directions[:, rows], Sampling())
        value = (part.features[..., :3] * weight[:, rows]).sum()
        value.backward()
        loss += float(value.detach())
    made.backward(planes.grad)
    want = float(golden["grad_grid_loss_raw"][0])
    assert abs(loss - want) < 2e-3 * abs(want) + 0.05
    assert_close(ws.grad, golden["grad_grid_ws"], float("inf"), 1e-3)
    stacked = planes.grad.reshape(1, 96, 256, 256)
    assert_close(stacked[..., ::16, ::16], golden["grad_grid_planes_s16"], float("inf"), 1e-3)
