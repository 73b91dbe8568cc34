"""IDE-3D's hybrid encoder: a picture and its segmentation to rows of w+, geometry first, then appearance.

Sun et al. 2022, "IDE-3D: Interactive Disentangled Editing for High-Resolution 3D-aware Portrait Synthesis".
Names of tensors are those of the public encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.generators.layers import EqualisedConv, fir_taps, scaled_lrelu
from inverters.generators.strict_loading import entry_or_all, filled, tensors_of
from inverters.generators.unpickle import Module

_LAST = 4
"""Side of the features that a tower ends with."""


@dataclass(frozen=True)
class HybridConfig:
    """Sizes of the encoder; defaults are the public one.

    Raises ValueError where they do not fit together.
    """

    size: int = 512
    """Side of picture and segmentation, a power of two from 8."""
    image_channels: int = 3
    classes: int = 19
    """Classes of the segmentation."""
    appearance: int = 10
    """Rows that the picture gives."""
    geometry: int = 8
    """Rows that the segmentation gives; they come first in w+."""
    w_dim: int = 512
    channel_base: int = 16384
    channel_max: int = 512
    """Features of side R have min(channel_base // R, channel_max) channels."""

    def __post_init__(self) -> None:
        if self.size <= _LAST or self.size & (self.size - 1):
            raise ValueError(f"the side of a picture is a power of two from 8, not {self.size}")

    def channels(self, side: int) -> int:
        """Channels of the features of this side."""
        return min(self.channel_base // side, self.channel_max)


class Convolution(EqualisedConv):
    """Equalised convolution, after a blur where it halves the size.

    `activate`: with leaky ReLU (0.2) times sqrt 2.
    """

    resample_filter: Tensor

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        *,
        down: bool = False,
        bias: bool = True,
        activate: bool = True,
    ) -> None:
        super().__init__(before, after, kernel, bias=bias)
        self.down, self.activate = down, activate
        self.register_buffer("resample_filter", fir_taps())

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,I,n,n] to [N,O,n,n], or [N,O,n/2,n/2] with `down`."""
        if self.down:
            channels, border = x.shape[1], self.weight.shape[-1] // 2
            taps = self.resample_filter.expand(channels, 1, 4, 4)
            x = F.conv2d(x, taps, padding=border + 1, groups=channels)
            x = F.conv2d(x, self.weight * self.weight_gain, self.bias, stride=2)
        else:
            x = super().forward(x)
        return scaled_lrelu(x) if self.activate else x


class Halving(nn.Module):
    """Residual block that halves the size: two convolutions beside a skip, their sum over sqrt 2."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = Convolution(before, before, 3)
        self.conv2 = Convolution(before, after, 3, down=True)
        self.skip = Convolution(before, after, 1, down=True, bias=False, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,I,n,n] to [N,O,n/2,n/2]."""
        found: Tensor = (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)
        return found


class Projector(EqualisedConv):
    """Equalised convolution over all of the last features: a dense layer without bias."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, _LAST, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N,C,4,4] to [N,O]."""
        return F.linear(x.flatten(1), self.weight.flatten(1) * self.weight_gain)


class HybridEncoder(nn.Module):
    """Two equal towers, one for the picture and one for its segmentation."""

    def __init__(self, config: HybridConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or HybridConfig()
        last = config.channels(_LAST)
        self.convs_img = _tower(config, config.image_channels)
        self.projector_img = Projector(last, config.appearance * config.w_dim)
        self.convs_seg = _tower(config, config.classes)
        self.projector_seg = Projector(last, config.geometry * config.w_dim)

    def forward(self, image: Tensor, segmentation: Tensor) -> Tensor:
        """Return offsets from the mean w.

        Args:
            image: [N,3,S,S] in [-1,1].
            segmentation: [N,classes,S,S], 1 in the class of a pixel and -1 in the others, see `one_hot`.

        Returns:
            [N,geometry+appearance,w_dim].
        """
        geometry = self.projector_seg(self.convs_seg(segmentation))
        appearance = self.projector_img(self.convs_img(image))
        return torch.cat([geometry, appearance], dim=1).reshape(len(image), -1, self.config.w_dim)

    def one_hot(self, labels: Tensor) -> Tensor:
        """Return class numbers [N,S,S] as the segmentation that the network takes."""
        return F.one_hot(labels.long(), self.config.classes).movedim(-1, 1).float() * 2 - 1


def _tower(config: HybridConfig, channels: int) -> nn.Sequential:
    """A convolution of single pixels without activation, then blocks down to features of 4 x 4."""
    side = config.size
    layers: list[nn.Module] = [Convolution(channels, config.channels(side), 1, activate=False)]
    while side > _LAST:
        layers.append(Halving(config.channels(side), config.channels(side // 2)))
        side //= 2
    return nn.Sequential(*layers)


def load_hybrid(file: object, what: str = "the file") -> HybridEncoder:
    """Return the public encoder from what a safe reader gives: its state dict, or a table with it under `E`.

    Raises:
        CheckpointError: it has other weights.
    """
    state = entry_or_all(file, "E")
    tensors = tensors_of(state.tensors() if isinstance(state, Module) else state, what)
    return filled(HybridEncoder, tensors, what)
