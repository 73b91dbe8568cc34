"""Layers of EG3D's networks: StyleGAN2's building blocks, with one convolution for the whole batch.

The public code makes one modulated kernel a sample. Here a layer scales its input by the style, runs one
convolution, and scales the output by the demodulation: equal up to rounding.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Noise = Literal["const", "none"] | torch.Generator
"""`const`: the stored noise maps; `none`: no noise; a torch.Generator: normal noise drawn from it."""

LRELU_GAIN = math.sqrt(2)
_TAPS = (1.0, 3.0, 3.0, 1.0)


def scaled_lrelu(x: Tensor, clamp: float | None = None) -> Tensor:
    """Leaky ReLU of slope 0.2, times sqrt(2), bounded by +-clamp if given."""
    x = F.leaky_relu(x, 0.2) * LRELU_GAIN
    return x if clamp is None else x.clamp(-clamp, clamp)


def fir_taps() -> Tensor:
    """The resampling filter [4,4]: outer([1,3,3,1], [1,3,3,1]) / 64."""
    taps = torch.tensor(_TAPS)
    return torch.outer(taps, taps) / 64


def blur_after_transpose(x: Tensor) -> Tensor:
    """The FIR with gain 4 and one zero on each side: [N,C,2n+1,2n+1] -> [N,C,2n,2n]."""
    channels = x.shape[1]
    kernel = (fir_taps() * 4).to(x).expand(channels, 1, 4, 4)
    return F.conv2d(x, kernel, padding=1, groups=channels)


def upsample2(x: Tensor) -> Tensor:
    """StyleGAN2's image upsampling by two: zero insertion, then the FIR with gain 4; zeros beyond the border.

    In float32 even under autocast: a CPU's depthwise transposed convolution is ten times slower in bfloat16.
    """
    channels = x.shape[1]
    x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    kernel = (fir_taps() * 4).to(x).expand(channels, 1, 4, 4)
    with torch.autocast(x.device.type, enabled=False):
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


class FullyConnected(nn.Module):
    """Equalised dense layer: y = x (g W)^T + m b, g = m / sqrt(fan_in), m the learning-rate multiplier."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: str = "linear",
        lr_mul: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.activation, self.lr_mul = activation, lr_mul
        self.weight_gain = lr_mul / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [...,I] to [...,O]."""
        bias = self.bias if self.lr_mul == 1 else self.bias * self.lr_mul
        y = F.linear(x, self.weight * self.weight_gain, bias)
        return scaled_lrelu(y) if self.activation == "lrelu" else y


class EqualisedConv(nn.Module):
    """Equalised convolution that keeps the size: its weights are multiplied by 1 / sqrt(fan_in)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,I,n,n] to [N,O,n,n]."""
        return F.conv2d(x, self.weight * self.weight_gain, self.bias, padding=self.weight.shape[-1] // 2)


def modulated_conv(
    x: Tensor, weight: Tensor, styles: Tensor, *, up: bool = False, bias: Tensor | None = None
) -> Tensor:
    """StyleGAN2's modulated convolution with one shared kernel for the batch, before its demodulation.

    W'_oi = W_oi s_i; `up` is a stride-2 transposed convolution followed by the 4x4 FIR.

    Args:
        x: [N,I,n,n].
        weight: [O,I,k,k].
        styles: s [N,I].
        up: double the resolution.
        bias: [O], not used with `up`; None adds none.

    Returns:
        [N,O,n,n], or [N,O,2n,2n] with `up`.
    """
    x = x * styles[:, :, None, None].to(x)
    if up:
        return blur_after_transpose(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
    return F.conv2d(x, weight, None if bias is None else bias.to(x), padding=weight.shape[-1] // 2)


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """1/sqrt(sum_{i,k} (W_oi s_i)^2 + 1e-8): factors [N,O] for weight [O,I,k,k] and styles [N,I]."""
    return torch.rsqrt(styles.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8)


class _Activation(torch.autograd.Function):
    """Leaky ReLU of gain * x + shift, bounded by +-clamp, in one buffer; backward needs only the result.

    x [N,C,n,n], gain [N,C,1,1], shift [C,1,1], [C,n,n] or [N,C,n,n].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, clamp: float | None) -> Tensor:
        y = F.leaky_relu_(torch.addcmul(shift, x, gain), 0.2)
        # On a CPU, clamp only if a value is out of bounds; on a GPU the test would synchronise.
        ctx.bounded = clamp is not None and (
            y.is_cuda or not all(-clamp < float(end) < clamp for end in torch.aminmax(y))
        )
        if clamp is not None and ctx.bounded:
            y.clamp_(-clamp, clamp)
        ctx.clamp = clamp
        ctx.shift_shape = shift.shape
        ctx.save_for_backward(x, gain, y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_y: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, y = ctx.saved_tensors
        if ctx.bounded:
            v_y = v_y.masked_fill(y.abs() >= ctx.clamp, 0)
        v_sum = torch.ops.aten.leaky_relu_backward(v_y, y, 0.2, True)
        wants_x, wants_gain, wants_shift, _ = ctx.needs_input_grad
        v_x = v_sum * gain if wants_x else None
        v_shift = v_sum.sum_to_size(ctx.shift_shape) if wants_shift else None
        # In place, unless the gradient of the shift is the same tensor.
        v_gain = None
        if wants_gain:
            product = v_sum * x if v_shift is v_sum else v_sum.mul_(x)
            v_gain = product.sum((2, 3), keepdim=True)
        return v_x, v_gain, v_shift, None


def halving_stage(channels: int, width: int, groups: int = 8) -> nn.Sequential:
    """A stage of our own readers of pictures: [N,channels,n,n] to [N,width,n/2,n/2].

    Two 3 x 3 convolutions, the first with stride 2, each with group normalisation and SiLU.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1),
        nn.GroupNorm(groups, width),
        nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.GroupNorm(groups, width),
        nn.SiLU(),
    )


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU."""

    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.clamp = resolution, up, clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", fir_taps())
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Noise = "const", offset: Tensor | float = 0.0) -> Tensor:
        """Map x [N,I,n,n] and w [N,w_dim] to [N,O,n,n], or [N,O,2n,2n] with `up`.

        `offset` [N,I] is added to the styles.
        """
        styles = self.affine(w) + offset
        x = modulated_conv(x, self.weight, styles, up=self.up)
        shift = self.bias[:, None, None]
        if noise == "const":
            shift = shift + self.noise_const * self.noise_strength
        elif isinstance(noise, torch.Generator):
            drawn = torch.randn(len(x), 1, *x.shape[2:], generator=noise, device=noise.device)
            shift = shift + drawn.to(x) * self.noise_strength
        # The leaky ReLU's gain is multiplied into the demodulation: one pass over x instead of four.
        gain = demodulation(self.weight, styles)[:, :, None, None] * LRELU_GAIN
        found: Tensor = _Activation.apply(x, gain.to(x), (shift * LRELU_GAIN).to(x), self.clamp)
        return found


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to image channels, without demodulation; in the precision of its weights.

    Images of all blocks add up to what is seen, and their rounding is not averaged away by a layer after.
    """

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, *, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.clamp, self.weight_gain = clamp, 1 / math.sqrt(in_channels)
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, w: Tensor, offset: Tensor | float = 0.0) -> Tensor:
        """Map x [N,I,n,n] and w [N,w_dim] to an image [N,C,n,n]; `offset` [N,I] is added to the styles."""
        with torch.autocast(x.device.type, enabled=False):
            x, w = x.to(self.weight.dtype), w.to(self.weight.dtype)
            styles = (self.affine(w) + offset) * self.weight_gain
            x = modulated_conv(x, self.weight, styles, bias=self.bias)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """One resolution: conv0 (doubles the size if `up`; absent in the first block), conv1, a skip image."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        img_channels: int,
        *,
        up: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up, self.first = up, in_channels == 0
        self.register_buffer("resample_filter", fir_taps())
        if self.first:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, up=up, clamp=clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, clamp=clamp)
        self.torgb = ToRGB(out_channels, img_channels, w_dim, clamp=clamp)
        self.num_convs = 1 if self.first else 2

    @property
    def style_widths(self) -> tuple[int, ...]:
        """Number of styles of each convolution, and last of the image's."""
        layers = (self.conv1, self.torgb) if self.first else (self.conv0, self.conv1, self.torgb)
        return tuple(len(layer.affine.weight) for layer in layers)

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Tensor,
        noise: Noise = "const",
        offsets: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return features and image of this resolution from those of the previous one.

        Args:
            x: features [N,I,n,n]; None in the first block, which begins at its constant.
            image: [N,C,n,n]; None in the first block.
            ws: [N,num_convs+1,w_dim], one row a convolution and one for the image.
            noise: see `Noise`.
            offsets: of the styles, [N,sum of style_widths]; None: none.
        """
        rows = iter(ws.unbind(dim=1))
        parts = iter([0.0] * 3 if offsets is None else offsets.split(self.style_widths, 1))
        if x is None:
            x = self.const.expand(len(ws), *self.const.shape)
        else:
            x = self.conv0(x, next(rows), noise, next(parts))
        x = self.conv1(x, next(rows), noise, next(parts))
        rgb = self.torgb(x, next(rows), next(parts))
        if image is None:
            return x, rgb
        return x, rgb + (upsample2(image) if self.up else image)
