"""How the weights of a fresh run begin, and how fast each kind of them learns."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn

from inverters.generators.checkpoint import load_checkpoint
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.generators.layers import SynthesisLayer
from inverters.training.losses import DENSITY_GAIN
from inverters.training.people_pictures import NUM_PARAMETERS
from inverters.training.widening import load_widened

BUNDLED_CONFIG = GeneratorConfig(
    z_dim=512,
    w_dim=512,
    c_dim=0,
    mapping_layers=4,
    mapping_features=512,
    channel_base=8192,
    channel_max=384,
    plane_resolution=128,
    plane_channels=32,
    plane_axes="fixed",
    img_resolution=256,
    neural_rendering_resolution=128,
    superresolution="small2x",
)

KERNEL_RATE_GAIN = 4.0
"""Learning rate of the convolutions' kernels relative to all other parameters: kernels have unit variance,
which suits the smaller rate of adversarial training.
"""


MAP_RATE_GAIN = 8.0
"""Learning rate of the noise maps: what they do is small, as their strength is."""

NOISE = 0.05
"""Strength of the noise maps at the beginning of a fresh run."""


def rate_gain(name: str, parameter: Tensor) -> float:
    """Learning rate of a parameter relative to the run's."""
    if name.endswith("noise_const"):
        return MAP_RATE_GAIN
    return KERNEL_RATE_GAIN if parameter.ndim == 4 else 1.0


def prepare(generator: Generator) -> None:
    """Freeze the mapping, zero what nothing reads yet, and let the noise maps learn.

    The weights of z beyond the parameters are zeroed, and the blocks trained later. With its last block
    zeroed the synthesis only enlarges the planes; a zeroed super-resolution only enlarges the raw image.
    """
    weight = generator.backbone.mapping.fc0.weight
    silent = torch.ones_like(weight)
    silent[:, NUM_PARAMETERS:] = 0
    with torch.no_grad():
        weight.mul_(silent * (weight.shape[1] / NUM_PARAMETERS) ** 0.5)
        silence_late_blocks(generator)
    generator.backbone.mapping.requires_grad_(False)  # it is trained by `pretrain_mapping` alone
    learn_maps(generator)


def learn_maps(generator: Generator) -> None:
    """Make parameters of the noise maps of the planes' layers, and give them their first strength.

    Besides them only a constant of 4 x 4 and the borders tell the layers where they are: texture needs more.
    The maps are the same for everybody, as everybody's hair, brows and irises lie in about the same places.
    """
    for layer in generator.backbone.synthesis.modules():
        if isinstance(layer, SynthesisLayer):
            stored = layer.noise_const
            del layer.noise_const
            layer.noise_const = nn.Parameter(stored)
            nn.init.constant_(layer.noise_strength, NOISE)


@torch.no_grad()
def silence_late_blocks(generator: Generator) -> None:
    """Zero the `torgb` layers of the last block of the planes and of both blocks of super-resolution.

    The blocks then pass on their enlarged input and add nothing to it.
    """
    last = getattr(generator.backbone.synthesis, generator.backbone.synthesis.names[-1])
    for block in (last, generator.superresolution.block0, generator.superresolution.block1):
        block.torgb.weight.zero_()
        block.torgb.bias.zero_()


def begin_from(generator: Generator, path: Path, late: bool) -> dict[str, float]:
    """Load an exported generator with as many channels or fewer; `late` zeroes its late blocks.

    Returns:
        The steps and hours of its training, as its card has them.

    Raises:
        CheckpointError: it differs in more than its number of channels.
    """
    card, weights = load_checkpoint(path)
    load_widened(generator, weights, card.config)
    with torch.no_grad():
        last = generator.decoder.layers[1]
        last.weight[0] /= DENSITY_GAIN
        last.bias[0] /= DENSITY_GAIN
    if late:
        silence_late_blocks(generator)
    return dict(card.reports.get("training", {}))


def make_optimiser(
    generator: Generator, rate: float
) -> tuple[torch.optim.Optimizer, dict[str, torch.nn.Parameter]]:
    """Return Adam over groups with a "gain" each, and the parameters by name in its order."""
    trained = [(name, p) for name, p in generator.named_parameters() if p.requires_grad]
    named = sorted(trained, key=lambda item: rate_gain(*item), reverse=True)
    groups = [
        {"params": [p for _, p in group], "gain": gain}
        for gain, group in itertools.groupby(named, key=lambda item: rate_gain(*item))
    ]
    return torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99), fused=True), dict(named)
