"""Encoders by name, with the small sizes of each for a generator, and what all of them are given and give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from inverters.encoders.e3dge_branch import BranchConfig
from inverters.encoders.e3dge_local import LocalConfig
from inverters.encoders.e3dge_triplane import E3DGETriplane, E3DGETriplaneConfig
from inverters.encoders.e4e import Encoder4Editing
from inverters.encoders.e4e_mask import E4eMask, E4eMaskConfig, Seen
from inverters.encoders.first_stage import told
from inverters.encoders.goae_afa import AfaConfig
from inverters.encoders.goae_encoder import GoaeEncoder, GoaeEncoderConfig
from inverters.encoders.goae_network import GoaeConfig, GoaeNetwork
from inverters.encoders.hourglass import HourglassConfig
from inverters.encoders.irse import IrseConfig
from inverters.encoders.psp import GradualStyleEncoder, PspConfig
from inverters.encoders.swin import SwinConfig
from inverters.encoders.triplanenet import OffsetConfig, TriPlaneNet, TriPlaneNetConfig
from inverters.errors import UnknownNameError
from inverters.generators.config import GeneratorConfig


@dataclass(frozen=True)
class Kind:
    """A kind of encoder: its configuration, its network, and small sizes of it for a generator."""

    config: type[Any]
    build: Callable[[Any], nn.Module]
    small: Callable[[GeneratorConfig], Any]


def _small_psp(generator: GeneratorConfig) -> PspConfig:
    return PspConfig(
        size=64,
        num_ws=generator.num_ws,
        w_dim=generator.w_dim,
        head=64,
        backbone=IrseConfig(channels=12, widths=(48, 96, 160, 192), units=(1, 2, 3, 2)),
    )


def _small_goae(generator: GeneratorConfig) -> GoaeEncoderConfig:
    swin = SwinConfig(
        image_size=128,
        width=32,
        depths=(2, 2, 4, 2),
        heads=(2, 4, 8, 8),
        window=8,
        pretrained_windows=(0, 0, 0, 0),
    )
    return GoaeEncoderConfig.sized_for(generator, swin=swin)


def _small_e4e_mask(generator: GeneratorConfig) -> E4eMaskConfig:
    return E4eMaskConfig(num_ws=generator.num_ws, w_dim=generator.w_dim)


def _small_e3dge(generator: GeneratorConfig) -> E3DGETriplaneConfig:
    """Beside our own E0, whose weights a run begins at."""
    codes = E4eMaskConfig(num_ws=generator.num_ws, w_dim=generator.w_dim)
    local = LocalConfig(
        hourglass=HourglassConfig(in_channels=16, channels=64, stacks=1, groups=4),
        frequencies=4,
        modulated=generator.plane_channels,
    )
    return E3DGETriplaneConfig(codes, BranchConfig(128, local, (16, 16, 24, 32)))


def _small_triplanenet(generator: GeneratorConfig) -> TriPlaneNetConfig:
    """Beside our own first branch, whose weights a run begins at."""
    codes = E4eMaskConfig(num_ws=generator.num_ws, w_dim=generator.w_dim)
    offsets = OffsetConfig(
        widths=(96, 96, 64, 48),
        size=max(generator.plane_resolution, 32),
        plane_resolution=generator.plane_resolution,
        plane_channels=3 * generator.plane_channels,
        body=(32, 64, 96, 128),
        units=(1, 2, 2, 1),
    )
    return TriPlaneNetConfig(codes, offsets)


def _small_whole_goae(generator: GeneratorConfig) -> GoaeConfig:
    """Beside our own first stage, whose weights a run begins at; two stages that see 32 x 32 tokens."""
    codes = E4eMaskConfig(num_ws=generator.num_ws, w_dim=generator.w_dim)
    block = min(32, generator.plane_resolution // 2)
    body = IrseConfig(widths=(48, 96), units=(2, 3))
    afa = AfaConfig.sized_for(generator, block, image_size=4 * block, body=body)
    return GoaeConfig(codes, afa, edit="paper")


KINDS = {
    "e3dge": Kind(E3DGETriplaneConfig, E3DGETriplane, _small_e3dge),
    "e4e": Kind(PspConfig, Encoder4Editing, _small_psp),
    "e4e-mask": Kind(E4eMaskConfig, E4eMask, _small_e4e_mask),
    "goae": Kind(GoaeConfig, GoaeNetwork, _small_whole_goae),
    "goae-w+": Kind(GoaeEncoderConfig, GoaeEncoder, _small_goae),
    "psp": Kind(PspConfig, GradualStyleEncoder, _small_psp),
    "triplanenet": Kind(TriPlaneNetConfig, TriPlaneNet, _small_triplanenet),
}
"""Encoders to w+ by name; `e3dge`, `goae` and `triplanenet` have a second stage too. `psp` and `e4e` of 12
channels take blocks of 2 x 2 pixels as one.
"""


def kind_of(name: str) -> Kind:
    """Return the kind of this name; raises UnknownNameError."""
    if name not in KINDS:
        raise UnknownNameError(f"unknown encoder '{name}'; known: {', '.join(KINDS)}")
    return KINDS[name]


def first_stage(network: nn.Module) -> nn.Module:
    """Return the network that tells codes: that of the table itself, or its first stage."""
    if isinstance(network, E3DGETriplane | GoaeNetwork):
        return network.encoder
    return network.psp_encoder if isinstance(network, TriPlaneNet) else network


def see(network: nn.Module, images: Tensor) -> Seen:
    """Return what a network of the table sees in pictures [N,3,H,H] in [-1,1] of any size.

    Of a network of two stages it is what the first sees.
    """
    return told(first_stage(network), images)
