"""GOAE's networks with weights by rule against the outputs of the released code."""

from __future__ import annotations

from collections.abc import Mapping
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from inverters.encoders.goae import Cameras, Goae, GoaeInversion, GoaePlanes
from inverters.encoders.goae_afa import Afa, load_afa
from inverters.encoders.goae_encoder import GoaeEncoder, load_goae_encoder
from inverters.encoders.goae_mix import mix_planes, visible_masks
from inverters.rendering.rays import make_rays
from tests.inverters.encoders.rule import (
    equalised,
    gauss,
    golden,
    golden_cameras,
    image,
    keys,
    recorded,
    rule_dictionary,
)
from tests.inverters.generators.rule import FULL, assert_close, assert_stats, rule_weights, shared

EQUALISED = (equalised(r"output_layer\.[02]\.weight"),)
EMPTY = 1e-4
"""Opacity of a ray under which its depth is 0 / 0 up to the rounding of float32."""
LAX = float("inf")

Golden = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def networks() -> Golden:
    return golden("goae")


@pytest.fixture(scope="module")
def whole() -> Golden:
    return golden("goae_net")


@pytest.fixture(scope="module")
def encoder() -> GoaeEncoder:
    return load_goae_encoder(rule_dictionary(keys("goae", "encoder_FFHQ.pt")))


@pytest.fixture(scope="module")
def afa() -> Afa:
    return load_afa(rule_dictionary(keys("goae", "afa_FFHQ.pt"), EQUALISED))


def test_encoder(encoder: GoaeEncoder, networks: Golden) -> None:
    taps = encoder.swin_model(image(11, 256))
    fine, mid, coarse, query, base = taps
    assert_close(fine[:, ::32, ::2], networks["tap_fine"], 2e-5, 5e-6)
    assert_close(mid[:, ::16, ::4], networks["tap_mid"], 2e-5, 5e-6)
    assert_close(coarse[:, ::8, ::4], networks["tap_coarse"], 2e-5, 5e-6)
    assert_close(query.mT[:, ::8], networks["tap_query"], 2e-5, 5e-6)
    assert_close(base.mT[:, ::8], networks["tap_base"], 2e-5, 5e-6)
    with patch.object(encoder.swin_model, "forward", lambda _: taps):
        ws = [encoder(image(11, 256), opened) for opened in range(4)]
    assert_close(ws[0], np.repeat(networks["ws_stage0"], 14, 1), 2e-5, 5e-6)
    for opened in (1, 2, 3):
        assert_close(ws[opened], networks[f"ws_stage{opened}"], 2e-5, 5e-6)


def test_alignment(afa: Afa, networks: Golden) -> None:
    features = gauss(13, 1, 512, 32, 32)
    after = recorded({f"body{k}": afa.body[k] for k in (2, 5, 8)} | {"kv": afa.output_layer})
    gamma, beta = afa.modulation(features, image(17, 512) - image(15, 512))
    for name, step in {"body2": 16, "body5": 8, "body8": 4, "kv": 4}.items():
        assert_close(after[name][:, ::8, ::step, ::step], networks[f"afa_{name}"], 2e-5, 5e-6)
    assert_close(gamma[:, ::4, ::2, ::2], networks["afa_gamma"], 2e-5, 5e-6)
    assert_close(beta[:, ::4, ::2, ::2], networks["afa_beta"], 2e-5, 5e-6)
    with patch.object(afa, "modulation", lambda *_: (gamma, beta)):
        refined = afa(features, image(17, 512) - image(15, 512))
    assert_close(refined[:, ::4, ::2, ::2], networks["afa_fstar"], 2e-5, 5e-6)
    assert_stats(refined[0], networks["afa_fstar_stats"], 1e-5)


def test_mix(whole: Golden) -> None:
    seen = Cameras(*golden_cameras(slice(2)))
    origins, directions = make_rays(seen.cam2world, seen.intrinsics, (128, 128))
    points = origins + directions * torch.from_numpy(whole["mix_depth"]).flatten(2).mT
    for sigma in (1.0, 1.5, 2.0):
        masks = visible_masks(points, 256, sigma=sigma)
        assert_close(masks[:, 0], whole[f"mix_mask_s{sigma}"], 1e-6, 1e-6)
        if sigma == 1.5:
            planes = gauss(31, 2, 3, 2, 256, 256), gauss(32, 2, 3, 2, 256, 256)
            assert_close(mix_planes(*planes, masks)[..., ::4, ::4], whole["mix_out"], 1e-6, 1e-6)


@pytest.fixture(scope="module")
def network(encoder: GoaeEncoder, afa: Afa) -> Goae:
    return Goae(rule_weights(FULL, -12.0), encoder, afa)


@pytest.fixture(scope="module")
def inversion(network: Goae) -> GoaeInversion:
    ws = network.w_plus(image(11, 256))
    return network.invert(image(21, 512), Cameras(*golden_cameras(slice(1, 2))), ws)


def thin(planes: Tensor) -> Tensor:
    return planes[:, :, ::4, ::16, ::16]


def assert_depth(depth: Tensor, opacity: Tensor, wanted: np.ndarray, largest: float, relative: float) -> None:
    """Depths of the rays that hit something, and of nearly all others."""
    hit = opacity > EMPTY
    assert hit.float().mean() > 0.4
    assert_close(depth[hit], wanted[hit.numpy()], largest, relative)
    apart = (depth - torch.from_numpy(wanted)).abs()
    assert (apart > 0.05).float().mean() < 0.01


@pytest.mark.slow
def test_inversion(network: Goae, inversion: GoaeInversion, whole: Golden) -> None:
    planes, view = inversion.planes, inversion.w_view
    assert_close(planes.ws, whole["rec_ws"], 2e-5, 5e-6)
    seen = Cameras(*golden_cameras(slice(1, 2)))
    np.testing.assert_array_equal(whole["cam"][0], np.load(shared("eg3d_small_golden.npz"))["cams"][1])
    skip = network.generator.features_at(planes.ws, 32)[1]
    assert_close(inversion.features[:, ::8, ::4, ::4], whole["F"], 5e-5, 1e-5)
    assert_close(skip[:, ::4, ::4, ::4], whole["skip"], 5e-5, 1e-5)
    assert_close(inversion.refined_features[:, ::8, ::4, ::4], whole["Fstar"], 2e-4, 1e-5)
    assert_close(thin(planes.base), whole["w_planes"], 2e-4, 1e-5)
    assert_close(thin(planes.refined), whole["f_planes"], 2e-4, 1e-5)
    opacity = network.generator.render(planes.base, seen.cam2world, seen.intrinsics).opacity
    assert_close(view.image_raw[0, :, ::4, ::4], whole["w_image_raw"], 2e-3)
    assert_depth(view.depth[0, 0, ::2, ::2], opacity[0, 0, ::2, ::2], whole["w_image_depth"], 2e-3, 1e-4)
    assert_close(view.image[0, :, ::8, ::8], whole["w_image"], 2e-3)
    raw = planes.raw
    assert_close(raw.features[0, :3, ::4, ::4], whole["f_image_raw"], 2e-3)
    assert_depth(raw.depth[0, 0], raw.opacity[0, 0], whole["f_image_depth"], 2e-3, 1e-4)
    image_f = network.generator.superresolve(raw.features, planes.ws)
    assert_close(image_f[0, :, ::8, ::8], whole["f_image"], 2e-3)


@pytest.mark.slow
def test_mix_of_an_inversion(inversion: GoaeInversion, whole: Golden) -> None:
    """With the golden depth, since a few empty rays have another in each implementation."""
    seen = Cameras(*golden_cameras(slice(1, 2)))
    origins, directions = make_rays(seen.cam2world, seen.intrinsics, (128, 128))
    points = origins + directions * torch.from_numpy(whole["f_image_depth"]).reshape(1, -1, 1)
    masks = visible_masks(points, 256)
    assert_close(masks[0, 0, ::2, ::2], whole["mask"], 1e-6, 1e-6)
    planes = inversion.planes
    assert_close(thin(mix_planes(planes.refined, planes.base, masks)), whole["mix_planes"], 2e-4, 1e-5)
    differ = (planes.masks - masks).abs() > 1e-3
    assert differ.float().mean() < 1e-2


@pytest.mark.slow
def test_edit(network: Goae, inversion: GoaeInversion, whole: Golden) -> None:
    seen, generator = Cameras(*golden_cameras(slice(1, 2))), network.generator
    step = 0.5 * gauss(19, 1, 1, 512)
    assert_close(step, whole["step"][None], 0, 0)
    edited: GoaePlanes = network.edit(inversion, inversion.planes.ws + step, seen)
    pose = (seen.cam2world, seen.intrinsics)
    plain = generator.synthesis(edited.ws, *pose, planes=edited.base)
    assert_close(plain.image[0, :, ::8, ::8], whole["edit_w_image"], 2e-3)
    assert_close(thin(edited.mixed), whole["edit_mix_planes"], LAX, 2e-3)
    raw = generator.render(edited.mixed, *pose)
    assert_close(raw.features[0, :3, ::4, ::4], whole["edit_image_raw"], LAX, 2e-3)
    depth, opacity = raw.depth[0, 0, ::2, ::2], raw.opacity[0, 0, ::2, ::2]
    assert_depth(depth, opacity, whole["edit_image_depth"], LAX, 2e-3)
    shown = generator.superresolve(raw.features, edited.ws)
    assert_close(shown[0, :, ::8, ::8], whole["edit_image"], LAX, 2e-3)
