"""The fast layers against the plain formulation: one modulated kernel per sample, zero insertion, FIR."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.generators.layers import (
    FullyConnected,
    SynthesisLayer,
    ToRGB,
    _Activation,
    demodulation,
    fir_taps,
    modulated_conv,
    scaled_lrelu,
    upsample2,
)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def with_zeros(x: Tensor) -> Tensor:
    """Zeros between samples: [N,C,n,n] -> [N,C,2n,2n]."""
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[..., ::2, ::2] = x
    return out


def fir(x: Tensor, before: int, after: int) -> Tensor:
    channels = x.shape[1]
    kernel = (fir_taps().double() * 4).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, groups=channels)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution(up: bool, demodulate: bool) -> None:
    x, weight, styles = normal(3, 4, 5, 5), normal(6, 4, 3, 3), normal(3, 4)
    found = modulated_conv(x, weight, styles, up=up)
    if demodulate:
        found = found * demodulation(weight, styles)[:, :, None, None]
    for sample in range(3):
        kernel = weight * styles[sample][None, :, None, None]
        if demodulate:
            kernel = kernel / torch.sqrt(kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up:
            spread = with_zeros(x[sample : sample + 1])[..., :-1, :-1]
            want = fir(
                F.conv2d(spread, kernel.flip(2, 3), padding=2), 1, 1
            )  # a true convolution flips its kernel
        else:
            want = F.conv2d(x[sample : sample + 1], kernel, padding=1)
        assert torch.allclose(found[sample : sample + 1], want)


def test_image_upsampling() -> None:
    image = normal(2, 3, 4, 4)
    assert torch.allclose(upsample2(image), fir(with_zeros(image), 2, 1))


def test_dense_layer_gains() -> None:
    layer = FullyConnected(8, 5, activation="lrelu", lr_mul=0.01, bias_init=2.0)
    assert layer.weight.detach().std() > 30  # stored divided by the multiplier
    x = torch.randn(3, 8)
    want = x @ (layer.weight * 0.01 / 8**0.5).T + layer.bias * 0.01
    assert torch.allclose(layer(x), F.leaky_relu(want, 0.2) * 2**0.5, atol=1e-6)


def test_activation_is_clamped_after_its_gain() -> None:
    assert scaled_lrelu(torch.tensor([-10.0, 10.0]), clamp=2.5).tolist() == pytest.approx([-2.5, 2.5])


def test_noise_modes() -> None:
    layer = SynthesisLayer(3, 4, 6, 5).requires_grad_(False)
    x, w = torch.randn(2, 3, 5, 5), torch.randn(2, 6)
    layer.noise_strength.fill_(0.5)
    assert not torch.equal(layer(x, w, "const"), layer(x, w, "none"))
    first, again = (layer(x, w, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, layer(x, w, "const"))
    layer.noise_strength.fill_(0)
    assert torch.equal(layer(x, w, "const"), layer(x, w, "none"))


def test_to_rgb_is_linear_in_its_input_and_clamped() -> None:
    layer = ToRGB(4, 3, 6, clamp=1.0).requires_grad_(False)
    x, w = torch.randn(1, 4, 2, 2) * 1e-3, torch.randn(1, 6)
    assert torch.allclose(layer(2 * x, w), 2 * layer(x, w), atol=1e-6)
    assert layer(1e6 * x, w).abs().max() == 1


@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 5, 5), (3, 4, 5, 5)])
@pytest.mark.parametrize("clamp", [None, 0.7, 100.0])
def test_gradients_of_the_activation(shape: tuple[int, ...], clamp: float | None) -> None:
    leaves = [t.requires_grad_() for t in (normal(3, 4, 5, 5), normal(3, 4, 1, 1), normal(*shape))]

    def plain(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        y = F.leaky_relu(gain * x + shift, 0.2)
        return y if clamp is None else y.clamp(-clamp, clamp)

    def ours(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return _Activation.apply(x, gain, shift, clamp)

    assert torch.allclose(ours(*leaves), plain(*leaves))
    assert torch.autograd.gradcheck(ours, leaves)
    # Each gradient is the same whichever others are wanted.
    weight = normal(3, 4, 5, 5)
    for k, leaf in enumerate(leaves):
        alone = [t.detach().requires_grad_(place == k) for place, t in enumerate(leaves)]
        (found,) = torch.autograd.grad((ours(*alone) * weight).sum(), alone[k])
        (want,) = torch.autograd.grad((plain(*leaves) * weight).sum(), leaf)
        assert torch.allclose(found, want)
