"""EG3D's super-resolution modules and two smaller ones of ours: two blocks, driven by the last row of ws."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.generators.config import GeneratorConfig
from inverters.generators.layers import SynthesisBlock, fir_taps
from inverters.generators.precision import convolutions


@dataclass(frozen=True)
class _Plan:
    """Shapes of one kind: input size, whether only smaller inputs are resized, output channels."""

    input_resolution: int
    only_enlarge: bool
    channels: tuple[int, int]
    first_up: bool
    has_filter: bool


_PLANS = {
    "8XDC": _Plan(128, False, (256, 128), True, False),
    "8X": _Plan(128, False, (128, 64), True, True),
    "4X": _Plan(128, True, (128, 64), False, True),
    "2X": _Plan(64, False, (128, 64), False, True),
}


def _small(config: GeneratorConfig) -> _Plan:
    """The plan of one of our own kinds: `small4x` doubles the size in both blocks, `small2x` in the last."""
    times = {"small4x": 4, "small2x": 2}[config.superresolution]
    return _Plan(config.img_resolution // times, False, config.sr_channels, times == 4, False)


class Superresolution(nn.Module):
    """Maps raw features to the final image; the first three are the raw image, refined by two skip blocks.

    All layers are driven by the last row of ws; there is no noise, whatever the noise mode of the planes, as
    in the official models. The raw image is never changed in place.
    """

    precision = torch.float32
    """Of the convolutions, see `precision`."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        size = config.img_resolution
        plan = _PLANS.get(config.superresolution) or _small(config)
        self.input_resolution, self.only_enlarge = plan.input_resolution, plan.only_enlarge
        self.antialias = config.sr_antialias
        if plan.has_filter:
            self.register_buffer("resample_filter", fir_taps())
        first, second = plan.channels
        clamp = config.sr_conv_clamp
        self.block0 = SynthesisBlock(
            config.feature_channels, first, config.w_dim, size // 2, 3, up=plan.first_up, clamp=clamp
        )
        self.block1 = SynthesisBlock(first, second, config.w_dim, size, 3, clamp=clamp)

    def forward(self, features: Tensor, ws: Tensor) -> Tensor:
        """Map features [N,C,h,w] and ws [N,num_ws,w_dim] to the image [N,3,S,S]."""
        return self._refined(self._resized(features), ws)

    def patch(self, features: Tensor, ws: Tensor, whole: int) -> Tensor:
        """Super-resolve part of a picture whose neural rendering is `whole` wide, at the same scale."""
        if self.input_resolution != whole and not (self.only_enlarge and whole > self.input_resolution):
            factor = self.input_resolution / whole
            features = F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)
        return self._refined(features, ws)

    def _refined(self, x: Tensor, ws: Tensor) -> Tensor:
        last = ws[:, -1:].expand(len(x), 3, -1)
        with convolutions(ws, self.precision):
            x, image = self.block0(x, x[:, :3], last, "none")
            image = self.block1(x, image, last, "none")[1]
        return image.to(ws)

    def _resized(self, features: Tensor) -> Tensor:
        size, want = features.shape[-1], self.input_resolution
        if size == want or (self.only_enlarge and size > want):
            return features
        return F.interpolate(
            features, size=(want, want), mode="bilinear", align_corners=False, antialias=self.antialias
        )
