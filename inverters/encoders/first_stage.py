"""Encoders to w+ with pictures of any size: alone, and as first stages of GOAE, TriPlaneNet and E3DGE."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.e4e_mask import Seen
from inverters.encoders.goae_encoder import GoaeEncoderConfig, to_size
from inverters.encoders.psp import PspConfig


def input_size(encoder: nn.Module) -> int:
    """Return the side of the pictures that an encoder takes."""
    config: Any = encoder.config
    if isinstance(config, GoaeEncoderConfig):
        return config.swin.image_size
    return int(config.size) * _fold(config)


def told(encoder: nn.Module, images: Tensor) -> Seen:
    """Return what an encoder tells of pictures [N,3,S,S] in [-1,1], resampled to its size."""
    images, fold = to_size(images, input_size(encoder)), _fold(encoder.config)
    found = encoder(F.pixel_unshuffle(images, fold) if fold > 1 else images)
    return found if isinstance(found, Seen) else Seen(found)


def _fold(config: Any) -> int:
    """Side of the blocks of pixels whose colours are the channels of the input."""
    return round((config.backbone.channels / 3) ** 0.5) if isinstance(config, PspConfig) else 1
