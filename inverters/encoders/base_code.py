"""Encoder of base codes: the features at a layer of a generator, from a picture eight times as large.

Katsumata et al. 2024, "Revisiting Latent Space of GAN Inversion for Robust Real Image Editing" (equation 2);
the network is Kang et al. 2021's. Its file is a `torch.save` table with the state dict under `encoder`.
"""

from __future__ import annotations

from torch import Tensor, nn

from inverters.generators.strict_loading import filled, table_with, tensors_of

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


def load_base_code_encoder(file: object, what: str) -> BaseCodeEncoder:
    """Return the encoder in what a safe reader gave for a file, ready for use.

    Args:
        file: a table with the state dict under `encoder`.
        what: what it is, for messages.

    Raises:
        CheckpointError: there is no such table, or its tensors are not those of this network.
    """
    tensors = tensors_of(table_with(file, what, "encoder")["encoder"], what)
    return filled(BaseCodeEncoder, tensors, what)
