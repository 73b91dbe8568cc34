"""A small StyleSDF: shapes, gradients, geometry, and what its loader refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.stylesdf import StyleSDF, load_stylesdf
from inverters.generators.stylesdf_config import StyleSDFConfig
from inverters.generators.stylesdf_renderer import calibrations, orbit_poses
from tests.inverters.encoders.rule import gauss
from tests.inverters.generators.stylesdf_tiny import TINY, tiny_stylesdf
from tests.inverters.gradients import reaches


def poses(*angles: tuple[float, float]) -> Tensor:
    azimuth, elevation = torch.tensor(angles).T
    return orbit_poses(azimuth, elevation)


def test_shapes_follow_the_configuration() -> None:
    generator = tiny_stylesdf()
    picture = generator.render(generator.codes(gauss(1, 2, 6)), poses((0.1, 0.0), (-0.2, 0.1)))
    assert picture.image.shape == (2, 3, 16, 16)
    assert picture.thumb.shape == (2, 3, 4, 4)
    assert picture.features.shape == (2, 10, 4, 4)
    assert picture.shape.points.shape == (2, 4, 4, 5, 3)
    assert StyleSDFConfig().decoder_rows == 10 and StyleSDFConfig().renderer_rows == 9


def test_gradients_reach_all_parameters() -> None:
    generator = tiny_stylesdf()
    codes = generator.codes(gauss(2, 2, 6))
    picture = generator.render(codes, poses((0.1, 0.0), (-0.2, 0.1)))
    reaches(generator, picture.image, picture.thumb)


def test_weights_of_a_ray_add_up_to_one() -> None:
    generator = tiny_stylesdf()
    codes = generator.codes(gauss(3, 1, 6))
    shape = generator.renderer.shape(codes.renderer, poses((0.0, 0.0)))
    torch.testing.assert_close(shape.weights.sum(-1), torch.ones(1, 4, 4))
    assert bool((shape.depth >= TINY.near).all()) and bool((shape.depth <= TINY.far).all())


def test_calibration_is_the_inverse_of_the_rays() -> None:
    """Each point of a ray falls on the pixel that the ray was sent through."""
    generator = tiny_stylesdf()
    camera = poses((0.4, -0.3))
    shape = generator.renderer.shape(generator.codes(gauss(4, 1, 6)).renderer, camera)
    matrix = calibrations(camera, TINY.half_fov)[0]
    x, y, z = (shape.points[0] @ matrix[:3, :3].T + matrix[:3, 3]).unbind(-1)
    centres = (torch.arange(4) + 0.5) / 2 - 1
    torch.testing.assert_close(-x / z, centres[None, :, None].expand_as(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(y / z, centres[:, None, None].expand_as(x), atol=1e-5, rtol=0)


def test_replaced_features_change_the_colour_alone() -> None:
    generator = tiny_stylesdf()
    codes = generator.codes(gauss(5, 1, 6))
    shape = generator.renderer.shape(codes.renderer, poses((0.0, 0.0)))
    plain, _ = generator.renderer.paint(shape, codes.renderer)
    same, _ = generator.renderer.paint(shape, codes.renderer, shape.hidden.clone())
    other, _ = generator.renderer.paint(shape, codes.renderer, -shape.hidden)
    assert torch.equal(plain, same) and not torch.allclose(plain, other, atol=1e-3)


def test_truncation_pulls_both_spaces_to_their_means() -> None:
    generator = tiny_stylesdf()
    means = generator.mean_codes(gauss(6, 50, 6))
    pulled = generator.codes(gauss(7, 2, 6), 0.0, means)
    torch.testing.assert_close(pulled.renderer, means.renderer.expand(2, 3, -1))
    torch.testing.assert_close(pulled.decoder, means.decoder.expand(2, 6, -1))


def test_the_loader_reads_what_it_was_given() -> None:
    generator = tiny_stylesdf()
    state = generator.state_dict()
    for table in (state, {"g_ema": state}, {f"module.{key}": value for key, value in state.items()}):
        loaded = load_stylesdf(table, TINY).state_dict()
        assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_the_loader_reads_the_names_of_e3dge() -> None:
    state = tiny_stylesdf().state_dict()
    renamed = {k.replace("renderer.network.", "renderer.network.netGlobal."): v for k, v in state.items()}
    renamed["renderer.network.netLocal.conv.weight"] = torch.zeros(1)
    loaded = load_stylesdf(renamed, TINY).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (3, "expected a table of tensors by name, found int"),
        ({"g_ema": [1]}, "expected a table of tensors by name, found list"),
        ({"style.9.bias": torch.zeros(6)}, "does not fit its architecture: .* 1 unknown"),
        ({"style.1.bias": "six"}, "has 'style.1.bias', a str"),
    ],
)
def test_the_loader_refuses_what_is_no_generator(table: object, said: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^'a\.pt'.*{said}"):
        load_stylesdf(table, TINY, "'a.pt'")


def test_truncation_needs_the_means() -> None:
    with pytest.raises(ValueError, match=r"truncation by 0\.5 needs the mean codes"):
        tiny_stylesdf().codes(gauss(9, 1, 6), 0.5)


@pytest.mark.parametrize(("size", "render_size"), [(48, 16), (8, 16), (24, 16)])
def test_sizes_that_do_not_fit(size: int, render_size: int) -> None:
    with pytest.raises(ValueError, match="no power of two"):
        StyleSDFConfig(size=size, render_size=render_size)


def test_new_weights_render_a_finite_picture() -> None:
    torch.manual_seed(0)
    generator = StyleSDF(TINY)
    assert bool(torch.isfinite(generator.render(generator.codes(gauss(8, 1, 6)), poses((0, 0))).image).all())
