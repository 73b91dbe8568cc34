"""Precision of the convolutions: what it changes, what it leaves, and how it is chosen."""

from __future__ import annotations

import pytest
import torch

from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.generators.precision import DTYPES, faster, measure
from inverters.generators.tuned import trainable_copy
from inverters.metrics import psnr
from inverters.people.params import sample_scores, to_z
from inverters.people.person import make_person
from inverters.people.picture import draw
from inverters.rendering.cameras import default_intrinsics, look_at


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator("bundled").requires_grad_(False)


@pytest.fixture
def ws(generator: Generator) -> torch.Tensor:
    z = torch.randn(2, generator.config.z_dim, generator=torch.Generator().manual_seed(1))
    return generator.mapping(z)


def test_bfloat16_changes_pictures_of_people_by_about_a_grey_level(generator: Generator) -> None:
    """And their PSNR against the true pictures by less than 0.1 dB."""
    scores = sample_scores(4, torch.Generator().manual_seed(1))
    for score, yaw in zip(scores, (0.0, 0.4, 0.0, 0.4), strict=True):
        cameras = look_at(torch.tensor([yaw]), torch.zeros(1)), default_intrinsics(1)
        codes = generator.mapping(to_z(score[None], generator.config.z_dim))
        found = {}
        for name, dtype in DTYPES.items():
            generator.precision = dtype
            found[name] = generator.synthesis(codes, *cameras)
        generator.precision = torch.float32
        assert found["bfloat16"].image.dtype == found["bfloat16"].features.dtype == torch.float32
        low, full = found["bfloat16"].image, found["float32"].image
        assert not torch.equal(low, full)
        assert (low - full).square().mean().sqrt() * 127.5 < 2  # of 255 levels, where a fit is off by ten
        truth = draw(make_person(score), cameras[0][0], cameras[1][0], (256, 256)).image[None]
        assert abs(float(psnr(low, truth) - psnr(full, truth))) < 0.1


def test_gradients_reach_the_codes_in_float32(generator: Generator, ws: torch.Tensor) -> None:
    grads = []
    for dtype in DTYPES.values():
        generator.precision = dtype
        codes = ws.clone().requires_grad_()
        image = generator.superresolve(generator.planes(codes)[:, 0], codes)
        (grad,) = torch.autograd.grad(image.square().mean(), codes)
        grads.append(grad.flatten())
    generator.precision = torch.float32
    assert grads[1].dtype == torch.float32
    assert torch.cosine_similarity(grads[0], grads[1], 0) > 0.99


def test_a_base_code_is_float32(generator: Generator, ws: torch.Tensor) -> None:
    generator.precision = torch.bfloat16
    features, skip = generator.features_at(ws, 32)
    generator.precision = torch.float32
    assert features.dtype == skip.dtype == torch.float32


def test_a_copy_keeps_the_precision_and_does_not_share_it(generator: Generator) -> None:
    generator.precision = torch.bfloat16
    copied = trainable_copy(generator)[0]
    generator.precision = torch.float32
    assert copied.precision == torch.bfloat16


def test_a_measurement_leaves_the_precision(generator: Generator) -> None:
    took = measure(generator, repeats=1)
    assert set(took) == set(DTYPES) and min(took.values()) > 0
    assert generator.precision == torch.float32


@pytest.mark.parametrize(
    ("took", "wanted"), [((1.0, 0.5), "bfloat16"), ((1.0, 0.95), "float32"), ((1.0, 7.0), "float32")]
)
def test_bfloat16_is_taken_where_it_is_clearly_faster(took: tuple[float, float], wanted: str) -> None:
    assert faster(dict(zip(DTYPES, took, strict=True))) == wanted
