"""The reference renderer: one field and two, ray subsets, chunks, gradients."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inverters.rendering import marching
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.fields import Decoder, Field
from inverters.rendering.planes import mean_features, sample_planes
from inverters.rendering.rays import make_rays
from inverters.rendering.reference import RayResult, render_rays
from inverters.rendering.sampling import Sampling

CHANNELS, HIDDEN, COLORS = 4, 6, 3
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=25)


class Scene:
    """Two small random fields over 8 x 8 planes, and the rays of two cameras."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float64, size: tuple[int, int] = (3, 4)) -> None:
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)

        self.planes, self.ood_planes = normal(2, 3, CHANNELS, 8, 8), normal(1, 3, CHANNELS, 8, 8)
        self.weights = [
            normal(HIDDEN, CHANNELS),
            normal(HIDDEN),
            normal(1 + COLORS, HIDDEN),
            normal(1 + COLORS),
        ]
        self.ood_weights = [
            normal(HIDDEN, CHANNELS),
            normal(2, HIDDEN),
            normal(2 + COLORS, HIDDEN),
            normal(2 + COLORS),
        ]
        poses = look_at([0.0, 0.4], [0.1, -0.1]).to(dtype)
        self.origins, self.directions = make_rays(poses, default_intrinsics(2).to(dtype), size)
        self.sampling = Sampling(coarse=6, fine=5)

    @property
    def decoder(self) -> Decoder:
        return Decoder(*self.weights)

    @property
    def ood_decoder(self) -> Decoder:
        return Decoder(*self.ood_weights)

    def one(self, **options: object) -> RayResult:
        field = Field(self.planes, self.decoder)
        return render_rays(
            field,
            self.origins,
            self.directions,
            self.sampling,
            want_samples=True,
            **options,  # type: ignore[arg-type]
        )

    def two(self, blend_bias: float = 0.0, **options: object) -> RayResult:
        decoder = self.ood_decoder
        bias = decoder.bias2.clone()
        bias[-1] += blend_bias
        return self.one(ood=Field(self.ood_planes, replace(decoder, bias2=bias)), **options)


def assert_same(found: RayResult, want: RayResult, atol: float = 1e-9) -> None:
    for f in fields(RayResult):
        a, b = getattr(found, f.name), getattr(want, f.name)
        assert (a is None) == (b is None), f.name
        if a is not None:
            assert torch.allclose(a, b, atol=atol), f.name


@few
@given(seeds)
def test_equals_sorting_every_sample_and_marching(seed: int) -> None:
    scene = Scene(seed)
    found = scene.one()
    points = scene.origins[:, :, None] + found.depths[..., None] * scene.directions[:, :, None]
    sigma, color = scene.decoder(mean_features(scene.planes, points.reshape(2, -1, 3)))
    shape = found.depths.shape
    rgb, _, weights = marching.march(color.reshape(*shape, -1), sigma.reshape(shape), found.depths)
    assert torch.allclose(found.features, rgb)
    assert torch.allclose(found.weights, weights)
    assert torch.allclose(found.opacity, weights.sum(dim=-1))
    assert (found.depths.diff(dim=-1) >= 0).all()


@few
@given(seeds)
def test_composite_of_two_fields_is_equation_four(seed: int) -> None:
    scene = Scene(seed)
    found = scene.two()
    points = (scene.origins[:, :, None] + found.depths[..., None] * scene.directions[:, :, None]).reshape(
        2, -1, 3
    )
    shape = found.depths.shape
    s_i, c_i = scene.decoder(mean_features(scene.planes, points))
    s_o, c_o, b = scene.ood_decoder.with_blend(
        mean_features(scene.ood_planes.expand(2, -1, -1, -1, -1), points)
    )
    s_i, s_o, b = (t.reshape(shape) for t in (s_i, s_o, b))
    c_i, c_o = (t.reshape(*shape, COLORS) for t in (c_i, c_o))
    seen = torch.zeros(2, 12, COLORS, dtype=torch.float64)
    passed = torch.ones(2, 12, dtype=torch.float64)
    for k in range(shape[-1] - 1):
        delta = found.depths[..., k + 1] - found.depths[..., k]
        mid_b, raw_i, raw_o = ((t[..., k] + t[..., k + 1]) / 2 for t in (b, s_i, s_o))
        a_i = 1 - torch.exp(-torch.nn.functional.softplus(raw_i - 1) * delta)
        a_o = 1 - torch.exp(-torch.nn.functional.softplus(raw_o - 1) * delta)
        mid_i, mid_o = ((c[..., k, :] + c[..., k + 1, :]) / 2 for c in (c_i, c_o))
        seen += passed[..., None] * (
            (mid_b * a_o)[..., None] * mid_o + ((1 - mid_b) * a_i)[..., None] * mid_i
        )
        passed = passed * (1 - mid_b * a_o) * (1 - (1 - mid_b) * a_i)
    assert torch.allclose(found.features, 2 * seen - 1, atol=1e-7)
    assert found.sample_blend is not None and torch.allclose(found.sample_blend, b)


@few
@given(seeds)
def test_blend_of_zero_is_the_face_alone_and_of_one_the_object_alone(seed: int) -> None:
    scene = Scene(seed)
    alone = scene.one()
    removed = scene.two(blend_bias=-1e4)
    assert torch.allclose(removed.features, alone.features)
    assert torch.allclose(removed.depth, alone.depth)
    assert removed.ood_opacity is not None and not removed.ood_opacity.any()
    only = scene.two(blend_bias=1e4, want_ood_features=True)
    assert only.ood_features is not None and torch.allclose(only.features, only.ood_features)
    assert only.blend is not None and torch.allclose(only.blend, only.opacity)


def test_samples_are_given_on_request_only() -> None:
    scene = Scene(4)
    field = Field(scene.planes, scene.decoder)
    found = render_rays(field, scene.origins, scene.directions, scene.sampling)
    assert found.weights is None and found.depths is None and found.sample_blend is None
    assert torch.equal(found.features, scene.one().features)


@few
@given(seeds, st.integers(1, 13), st.booleans())
def test_result_does_not_depend_on_chunks(seed: int, chunk: int, random: bool) -> None:
    scene = Scene(seed)

    def drawn() -> None:
        if random:
            scene.sampling = replace(scene.sampling, rng=torch.Generator().manual_seed(seed))

    drawn()
    whole = scene.two(want_ood_features=True)
    drawn()
    assert_same(scene.two(want_ood_features=True, chunk=chunk), whole)


@few
@given(seeds)
def test_rays_do_not_depend_on_their_order_or_company(seed: int) -> None:
    scene = Scene(seed)
    whole = scene.two()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:7]
    scene.origins, scene.directions = scene.origins[:, order], scene.directions[:, order]
    part = scene.two()
    assert torch.allclose(part.features, whole.features[:, order])
    assert torch.allclose(part.depth, whole.depth[:, order])


def test_frames_share_planes_of_batch_one() -> None:
    scene = Scene(9)
    scene.planes = scene.planes[:1]
    shared = scene.two()
    scene.planes, scene.ood_planes = (
        scene.planes.expand(2, -1, -1, -1, -1),
        scene.ood_planes.expand(2, -1, -1, -1, -1),
    )
    assert_same(shared, scene.two())


def test_frames_do_not_mix() -> None:
    scene = Scene(5)
    both = scene.two()
    scene.planes, scene.ood_weights[1] = scene.planes[1:], scene.ood_weights[1][1:]
    scene.origins, scene.directions = scene.origins[1:], scene.directions[1:]
    assert torch.allclose(scene.two().features, both.features[1:])


def test_coarse_only_and_white_background() -> None:
    scene = Scene(6)
    scene.sampling = Sampling(coarse=8, fine=0)
    black = scene.one()
    assert black.depths.shape[-1] == 8
    scene.sampling = Sampling(coarse=8, fine=0, white_back=True)
    white = scene.one()
    assert torch.allclose(white.features, black.features + 2 * (1 - black.opacity)[..., None])


def test_default_sampling_is_deterministic_and_draws_change_it() -> None:
    scene = Scene(7)
    assert_same(scene.one(), scene.one(), atol=0)
    depths, limits = Sampling(coarse=48).coarse_depths(1, 1, torch.zeros(1))
    assert torch.equal(limits, depths[0, 0, [0, -1]])
    assert float(depths[0, 0, 0]) == pytest.approx(2.25 + 0.5 * 1.05 / 47)
    assert float(depths[0, 0, -1]) == pytest.approx(3.3 + 0.5 * 1.05 / 47)  # EG3D oversteps its limit
    scene.sampling = replace(scene.sampling, rng=torch.Generator().manual_seed(1))
    first = scene.one()
    assert not torch.allclose(first.depths, scene.one().depths)


def test_features_outside_the_box_are_zero_and_the_axes_differ() -> None:
    planes = Scene(8).planes
    outside = torch.tensor([[[0.9, 0.9, 0.9], [-0.7, 0.0, 0.8]]], dtype=torch.float64).expand(2, -1, -1)
    assert not sample_planes(planes, outside)[:, :, :, 0].any()
    inside = torch.tensor([[[0.1, 0.2, 0.3]]], dtype=torch.float64).expand(2, -1, -1)
    original = sample_planes(planes, inside, axes="original")
    fixed = sample_planes(planes, inside, axes="fixed")
    assert torch.equal(original[:, [0, 2]], fixed[:, [0, 2]])
    assert not torch.allclose(original[:, 1], fixed[:, 1])


def test_texel_centres() -> None:
    planes = torch.zeros(1, 3, 1, 4, 4)
    planes[0, 0, 0] = torch.arange(16.0).reshape(4, 4)
    points = torch.tensor(
        [[[-0.375, 0.125, 0.0], [-0.25, 0.125, 0.0]]]
    )  # column 0 row 2; halfway to column 1
    assert sample_planes(planes, points)[0, 0, 0].tolist() == pytest.approx([8.0, 8.5])


@pytest.mark.parametrize("transmittance", ["product", "sum"])
def test_gradients(transmittance: str) -> None:
    scene = Scene(10, size=(1, 2))
    # Fine depths are constants of the backward pass, so the numerical derivative must not move them.
    scene.sampling = Sampling(coarse=5, fine=0)
    leaves = [scene.planes, scene.ood_planes, *scene.weights, *scene.ood_weights]
    start = [leaf.clone().requires_grad_() for leaf in leaves]

    def render(planes: Tensor, ood_planes: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        scene.planes, scene.ood_planes = planes, ood_planes
        scene.weights, scene.ood_weights = list(weights[:4]), list(weights[4:])
        out = scene.two(transmittance=transmittance, want_ood_features=True)
        return (
            out.features,
            out.depth,
            out.opacity,
            out.blend,
            out.sample_blend,
            out.ood_opacity,
            out.ood_features,
        )  # type: ignore[return-value]

    assert torch.autograd.gradcheck(render, start, fast_mode=True)


def test_gradients_reach_both_passes_but_not_the_depths() -> None:
    scene = Scene(11, dtype=torch.float32)
    scene.planes.requires_grad_()
    scene.origins = scene.origins.clone().requires_grad_()
    found = scene.two()
    assert not found.depths.requires_grad or found.depths.grad_fn is not None
    found.features.sum().backward()
    assert scene.planes.grad is not None and scene.planes.grad.abs().sum() > 0
    assert scene.origins.grad is not None and torch.isfinite(scene.origins.grad).all()
