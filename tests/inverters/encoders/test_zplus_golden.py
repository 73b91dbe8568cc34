"""Z+, P_N, base codes and their encoder against the official implementation's outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from inverters.encoders.base_code import BaseCodeEncoder
from inverters.fitting.p_space import PStatistics, statistics_of
from inverters.fitting.spaces import mapped_rows, retracted
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.rendering.cameras import from_label, look_at, to_label
from tests.inverters.encoders.rule import Row, gauss, golden, image, keys, rule_dictionary
from tests.inverters.encoders.stylegan2 import StyleGAN2
from tests.inverters.generators.rule import assert_close, assert_stats, shared

pytestmark = pytest.mark.weights
Golden = Mapping[str, np.ndarray]

GENERATOR_ROWS = (
    Row(r"^mapping.*weight$", 0.0, 100.0),
    Row(r"^mapping.*bias$", 0.0, 20.0),
    Row(r"style\.weight$", 0.0, 0.5),
    Row(r"style\.bias$", 0.0, 0.2),
    Row(r"noise_strength$", 0.1, 0.05),
    Row(r"w_avg$", 0.0, 0.3),
    Row(r"bias$", 0.0, 0.2),
    Row("", 0.0, 1.0),
)


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(array))


@pytest.fixture(scope="module")
def flat() -> Golden:
    return golden("zplus")


@pytest.fixture(scope="module")
def stylegan2() -> StyleGAN2:
    layout = keys("zplus", "the small 64 px generator of zplus_golden.npz")
    return StyleGAN2(rule_dictionary(layout, GENERATOR_ROWS))


@pytest.fixture(scope="module")
def statistics(stylegan2: StyleGAN2) -> PStatistics:
    w = stylegan2.mapping(gauss(127, 4096, 512))
    return statistics_of(w.split(1000), "golden")


# StyleGAN2


def test_base_code_encoder(flat: Golden) -> None:
    encoder = BaseCodeEncoder().eval()
    layout = keys("zplus", "base-code encoder, file key encoder")
    assert set(encoder.state_dict()) == set(layout)
    missing = encoder.load_state_dict(rule_dictionary(layout), strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    assert not missing.unexpected_keys
    x, step = image(121, 128), {8: 16, 9: 8, 18: 8, 19: 4, 28: 4, 29: 2}
    with torch.no_grad():
        for k, layer in enumerate(encoder.model):
            x = layer(x)
            if k in step:
                assert_close(x[:, ::8, :: step[k], :: step[k]], flat[f"enc_model{k}"], 2e-6)
    assert_close(x[:, ::8], flat["basecode"], 2e-6)


def test_rows_of_z_are_mapped_one_by_one(flat: Golden, stylegan2: StyleGAN2) -> None:
    assert_close(retracted(gauss(123, 10, 512)), flat["zs"], 1e-6)
    w = stylegan2.mapping(tensor(flat["zs"]))[None]
    assert_close(w, flat["w"], 2e-5)
    assert_close(stylegan2.truncated(w, 0.7, 8), flat["wp"], 2e-5)


def test_a_base_code_takes_the_place_of_features_and_of_the_image_below(
    flat: Golden, stylegan2: StyleGAN2
) -> None:
    wp = tensor(flat["wp"])
    plain, x03 = stylegan2.synthesis(wp)
    assert_close(plain, flat["plain_image"], 1e-5)
    assert_close(x03, flat["plain_x03"], 1e-5)
    assert_close(stylegan2.synthesis(wp, tensor(flat["f"]))[0], flat["f_image"], 1e-5)
    assert_close(stylegan2.synthesis(wp, tensor(flat["plain_x03"]))[0], flat["f_is_x03_image"], 1e-5)


def test_statistics_of_p(flat: Golden, statistics: PStatistics) -> None:
    assert_close(statistics.mean, flat["pn_mean"], 1e-5)
    want = tensor(flat["pn_eigenvalues_sorted"]).double().sort().values
    assert ((statistics.variances - want).abs() / want).max() < 1e-3
    assert_close(statistics.variances, want.numpy(), 1e-4)


def test_penalty_in_p_and_its_gradient(flat: Golden, statistics: PStatistics) -> None:
    w = tensor(flat["w"])[0].double().requires_grad_()
    norms = statistics.squared_norms(w)
    want = tensor(flat["pn_sqnorm"]).double()
    assert ((norms - want).abs() / want).max() < 1e-4
    penalty = statistics.penalty(w)
    assert float(penalty.detach()) == pytest.approx(float(flat["pn_penalty"][0]), rel=1e-4)
    penalty.backward()
    assert_close(w.grad, flat["pn_penalty_grad_f64"], float("inf"), 1e-3)


def test_retraction(flat: Golden) -> None:
    assert_close(retracted(tensor(flat["retract_in"])), flat["retract_out"], 2e-6)


# EG3D


@pytest.fixture(scope="module")
def solid() -> Golden:
    return golden("zplus_eg3d")


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(shared("eg3d_small.pkl"))


@pytest.fixture(scope="module")
def label() -> Tensor:
    return tensor(dict(np.load(shared("eg3d_small_golden.npz")))["cams"][1:2])


def test_z_plus_of_eg3d(solid: Golden, generator: Generator, label: Tensor) -> None:
    z = retracted(gauss(131, 14, 512))
    assert_close(z, solid["zp_z"], 1e-6)
    assert (z.norm(dim=1) - 512**0.5).abs().max() < 1e-4
    frontal = to_label(look_at(0.0, 0.0, 2.7, (0.0, 0.0, 0.2)), from_label(label)[1])
    assert_close(frontal[0], solid["zp_cond"], 1e-6)
    assert_close(mapped_rows(generator, z[None], frontal), solid["zp_ws"], 1e-5)


def test_view_of_z_plus(solid: Golden, generator: Generator, label: Tensor) -> None:
    ws = tensor(solid["zp_ws"])
    planes = generator.planes(ws)
    stacked = planes.reshape(1, 96, 256, 256)
    assert_close(stacked[:, ::4, ::8, ::8], solid["zp_planes_s8"], 5e-5)
    assert_stats(stacked[0], solid["zp_planes_stats"], 1e-5)
    seen = generator.synthesis(ws, *from_label(label), planes=planes)
    # The official 4X super-resolution adds its first block's image to the raw one, and returns that.
    last = ws[:, -1:].expand(-1, 3, -1)
    added = generator.superresolution.block0(seen.features, seen.image_raw, last, "none")[1]
    assert_close(added[0, :, ::2, ::2], solid["zp_image_raw"], 2e-3)
    assert_close(seen.depth[0, 0, ::2, ::2], solid["zp_depth"], 2e-3)
    assert_close(seen.image[0, :, ::4, ::4], solid["zp_image"], 2e-3)


@pytest.mark.parametrize("way", ["skip", "noskip"])
def test_base_code_of_eg3d(solid: Golden, generator: Generator, label: Tensor, way: str) -> None:
    ws = tensor(solid["zp_ws"])
    features, skip = generator.features_at(ws, 32)
    assert_close(features, solid["F"], 5e-5)
    base = features + 0.3 * features.std() * gauss(133, *features.shape)
    planes = generator.planes_from(base, skip if way == "skip" else None, ws, 32)
    stacked = planes.reshape(1, 96, 256, 256)
    assert_close(stacked[:, ::4, ::8, ::8], solid[f"fzp_{way}_planes_s8"], 5e-5)
    assert_stats(stacked[0], solid[f"fzp_{way}_planes_stats"], 1e-5)
    seen = generator.render(planes, *from_label(label)).features[0, :3, ::2, ::2]
    assert_close(seen, solid[f"fzp_{way}_image_raw"], 2e-3)
