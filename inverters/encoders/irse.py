"""Residual units of ArcFace's IR-SE networks, with squeeze and excitation (names of tensors as there)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_SQUEEZE = 16


class SqueezeExcitation(nn.Module):
    """Channels scaled by what their means say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,C,h,w] to the same shape."""
        return x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class IrSeUnit(nn.Module):
    """Norm, convolution, PReLU, strided convolution, norm, squeeze and excitation; with a residual."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer = None
        if channels != out:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, out, 3, padding=1, bias=False),
            nn.PReLU(out),
            nn.Conv2d(out, out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out),
            SqueezeExcitation(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N,I,h,w] to [N,O,h/stride,w/stride]."""
        if self.shortcut_layer is None:
            return x[:, :, :: self.stride, :: self.stride] + self.res_layer(x)
        return self.shortcut_layer(x) + self.res_layer(x)


def irse_stem(channels: int, out: int) -> nn.Sequential:
    """Return the first layers: [N,I,h,w] to [N,O,h,w]."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.PReLU(out))


def irse_stage(channels: int, out: int, units: int, stride: int) -> list[IrSeUnit]:
    """Return the units of one resolution; the first is strided."""
    return [IrSeUnit(channels if k == 0 else out, out, stride if k == 0 else 1) for k in range(units)]
