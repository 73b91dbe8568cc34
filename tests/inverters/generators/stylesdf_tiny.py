"""The smallest StyleSDF on which every part still runs."""

from __future__ import annotations

import torch

from inverters.generators.stylesdf import StyleSDF
from inverters.generators.stylesdf_config import StyleSDFConfig

TINY = StyleSDFConfig(
    style_dim=6,
    depth=2,
    width=10,
    render_size=4,
    samples=5,
    size=16,
    decoder_dim=7,
    decoder_mapping_layers=2,
    channel_base=64,
    channel_max=8,
)


def tiny_stylesdf() -> StyleSDF:
    """Random weights from a fixed seed, with some noise, and densities soft enough to see through."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        generator = StyleSDF(TINY)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise.weight"):
                parameter.fill_(0.1)
    return generator
