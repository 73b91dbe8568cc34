"""StyleSDF against the released code's outputs for weights by rule."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from inverters.generators.stylesdf import StyleSDF
from inverters.generators.stylesdf_renderer import calibrations
from tests.inverters.encoders.rule import gauss, golden
from tests.inverters.generators.rule import assert_close, assert_stats
from tests.inverters.generators.stylesdf_rule import golden_pose, rule_stylesdf

Golden = Mapping[str, npt.NDArray[np.floating]]
VIEWS = {"cam0": (0, 1.0), "cam1": (1, 1.0), "cam1_psi05": (1, 0.5)}


@pytest.fixture(scope="module")
def stored() -> Golden:
    return golden("stylesdf")


@pytest.fixture(scope="module")
def generator() -> StyleSDF:
    return rule_stylesdf()


def test_mapping_and_means(generator: StyleSDF, stored: Golden) -> None:
    w = generator.mapping(gauss(0, 2, 256))
    means = generator.mean_codes(gauss(123, 1000, 256))
    for found, name in (
        (w, "w"),
        (generator.decoder.style(w), "decoder_w"),
        (means.renderer[0], "mean_w"),
        (means.decoder[0], "mean_decoder_w"),
    ):
        assert_close(found, stored[name], 1e-5, 5e-6)


@pytest.mark.parametrize("camera", range(3))
def test_cameras(generator: StyleSDF, stored: Golden, camera: int) -> None:
    e3dge = golden("e3dge")
    assert_close(golden_pose(camera), stored[f"pose_{camera}"], 1e-6)
    assert_close(golden_pose(camera), e3dge[f"poses_{camera}"], 1e-6)
    found = calibrations(golden_pose(camera), generator.config.half_fov)
    assert_close(found, e3dge[f"calibs_{camera}"], 5e-6)
    focal = generator.config.render_size / 2 / np.tan(generator.config.half_fov)
    assert focal == pytest.approx(float(stored["focal"][0]), rel=1e-6)
    assert (generator.config.near, generator.config.far) == pytest.approx(tuple(stored["near_far"]))


def test_points(generator: StyleSDF, stored: Golden) -> None:
    drawn = np.random.RandomState(51).uniform(-1, 1, (1, 16, 16, 1, 3)).astype(np.float32)
    directions = F.normalize(gauss(52, 1, 16, 16, 1, 3), dim=-1).reshape(1, -1, 3)
    w = generator.codes(gauss(0, 2, 256)[:1]).renderer
    network = generator.renderer.network
    hidden = network.hidden(torch.from_numpy(drawn).reshape(1, -1, 3), w)
    rgb, features = network.colour(hidden, directions, w)
    for found, name in (
        (network.distance(hidden)[..., None], "pt_sdf"),
        (rgb, "pt_rgb"),
        (features[..., ::8], "pt_feat"),
    ):
        assert_close(found.reshape(stored[name].shape), stored[name], 1e-4, 5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_pictures(generator: StyleSDF, stored: Golden, view: str) -> None:
    camera, psi = VIEWS[view]
    means = generator.mean_codes(gauss(123, 1000, 256))
    picture = generator.render(generator.codes(gauss(0, 2, 256)[:1], psi, means), golden_pose(camera))
    shape = picture.shape
    assert_close(picture.thumb, stored[f"{view}_thumb"], 1e-4)
    assert_close(shape.surface.permute(0, 3, 1, 2)[..., ::2, ::2], stored[f"{view}_xyz"], 1e-4)
    assert_close(shape.weights[..., -1][:, None], stored[f"{view}_bgmask"], 1e-4)
    assert_close(shape.distance[:, ::8, ::8], stored[f"{view}_sdf"], 1e-4)
    assert_close(picture.image[..., ::16, ::16], stored[f"{view}_image_s16"], 5e-4)
    assert_close(picture.image[..., 496:528, 496:528], stored[f"{view}_image_crop"], 5e-4)
    assert_stats(picture.image[0], stored[f"{view}_image_stats"], 5e-4)
    if view == "cam0":
        assert_close(picture.features[:, ::8, ::8, ::8], stored["cam0_feat"], 2e-4)
