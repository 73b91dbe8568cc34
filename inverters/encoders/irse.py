"""IR-SE-50: the residual network with squeeze-and-excitation of ArcFace, backbone of pSp and its relatives.

Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition". Names of tensors are
those of the public `model_ir_se50.pth`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor, nn
from torch.nn import functional as F

from inverters.generators.strict_loading import filled, tensors_of

_SQUEEZE = 16
"""Channels for each hidden channel of squeeze-and-excitation."""


@dataclass(frozen=True)
class IrseConfig:
    """Sizes of the backbone; defaults are IR-SE-50. Each stage halves the picture."""

    channels: int = 3
    """Channels of the input."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of the stages; the stem has those of the first."""
    units: tuple[int, ...] = (3, 4, 14, 3)
    """Residual units of the stages."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Index of the last unit of each stage: 2, 6, 20, 23."""
        return tuple(end - 1 for end in accumulate(self.units))


class SqueezeExcitation(nn.Module):
    """Channels times a factor in (0,1) that a small network makes of their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // _SQUEEZE, 1)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,C,h,w] to the same shape."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        factor: Tensor = self.fc2(self.fc1(mean).relu()).sigmoid()
        return x * factor


class Unit(nn.Module):
    """Residual unit: batch norm, convolution, PReLU, convolution with the stride, batch norm, excitation.

    `squeeze`: with excitation at the end.
    """

    def __init__(self, before: int, channels: int, stride: int, *, squeeze: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer: nn.Sequential | None = None
        if before != channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, channels, 3, padding=1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            *([SqueezeExcitation(channels)] if squeeze else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N,I,h,w] to [N,O,h/stride,w/stride]."""
        kept = x[:, :, :: self.stride, :: self.stride]
        shortcut = kept if self.shortcut_layer is None else self.shortcut_layer(x)
        found: Tensor = shortcut + self.res_layer(x)
        return found


def units(before: int, widths: Sequence[int], stride: int, *, squeeze: bool = True) -> list[Unit]:
    """Return residual units of these widths in a row; the first has the stride."""
    inputs = (before, *widths[:-1])
    return [
        Unit(i, o, 1 if k else stride, squeeze=squeeze)
        for k, (i, o) in enumerate(zip(inputs, widths, strict=True))
    ]


def stem(before: int, channels: int) -> nn.Sequential:
    """Return a 3x3 convolution, batch norm and PReLU."""
    return nn.Sequential(
        nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.PReLU(channels)
    )


class Backbone(nn.Module):
    """Stem and residual units; networks that build upon it add their own layers beside these."""

    def __init__(self, config: IrseConfig) -> None:
        super().__init__()
        self.backbone = config
        first = config.widths[0]
        self.input_layer = stem(config.channels, first)
        body, before = [], first
        for width, count in zip(config.widths, config.units, strict=True):
            body += units(before, (width,) * count, 2)
            before = width
        self.body = nn.Sequential(*body)

    def taps(self, x: Tensor, after: tuple[int, ...]) -> list[Tensor]:
        """Return the features of a picture [N,channels,S,S] after the units of these indices, ascending."""
        x, found = self.input_layer(x), []
        for k, unit in enumerate(self.body):
            x = unit(x)
            found += [x] * after.count(k)
        return found


class ArcFace(Backbone):
    """Face recognition by IR-SE-50: a picture to a unit vector.

    Args:
        config: sizes of the backbone.
        size: side of the picture, a multiple of 16.
        features: length of the vector.
    """

    def __init__(self, config: IrseConfig | None = None, size: int = 112, features: int = 512) -> None:
        super().__init__(config or IrseConfig())
        width = self.backbone.widths[-1]
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(width * (size // 16) ** 2, features),
            nn.BatchNorm1d(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map face crops [N,3,S,S] in [-1,1] to unit vectors [N,F]."""
        return F.normalize(self.output_layer(self.body(self.input_layer(x))), dim=1)


def load_arcface(file: object, what: str = "the file") -> ArcFace:
    """Return ArcFace with the weights of `model_ir_se50.pth`, as a safe reader gives them.

    Raises:
        CheckpointError: it is no such file.
    """
    return filled(ArcFace, tensors_of(file, what), what)
