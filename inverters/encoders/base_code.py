"""Encoder of base codes: the features at a layer of a generator, from a picture eight times as large.

Katsumata et al. 2024, "Revisiting Latent Space of GAN Inversion for Robust Real Image Editing" (equation 2);
the network is Kang et al. 2021's. Its file is a `torch.save` table with the state dict under `encoder`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import shown
from inverters.generators.torch_file import read_torch_file

SCALE = 8
"""Pictures are so many times as wide as the base code."""
WIDTHS = (128, 256, 512)
"""Channels of the three groups, each of three convolutions and a pooling."""


class BaseCodeEncoder(nn.Module):
    """Network from pictures [N,3,8r,8r] in [-1,1] to base codes [N,512,r,r]."""

    def __init__(self, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            for _ in range(3):
                layers += _convolution(channels, width)
                channels = width
            layers.append(nn.AvgPool2d(2))
        layers += _convolution(channels, channels)
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map pictures [N,3,8r,8r] to base codes [N,C,r,r]."""
        found: Tensor = self.model(images)
        return found


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]


def load_base_code_encoder(path: Path) -> BaseCodeEncoder:
    """Read an encoder's file, strictly, and return it ready for use.

    Raises:
        CheckpointError: the file is damaged, or its tensors are not those of this network; the message names
            the first that is not.
    """
    content = read_torch_file(path)
    weights = content.get("encoder") if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise CheckpointError(f"'{path}' is no base-code encoder: it has no table 'encoder'")
    encoder = BaseCodeEncoder()
    wanted = encoder.state_dict()
    for name in sorted(wanted.keys() ^ weights.keys(), key=str):
        what = "lacks" if name in wanted else "has the unknown"
        raise CheckpointError(f"'{path}' is no base-code encoder: it {what} tensor '{shown(name)}'")
    for name, tensor in wanted.items():
        given = weights[name]
        if not isinstance(given, Tensor) or given.shape != tensor.shape:
            found = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise CheckpointError(f"'{path}': tensor '{name}' is {found}, not {list(tensor.shape)}")
        if not bool(torch.isfinite(given).all()):
            raise CheckpointError(f"'{path}': tensor '{name}' holds numbers that are not finite")
    encoder.load_state_dict(weights)
    return encoder.eval().requires_grad_(False)
