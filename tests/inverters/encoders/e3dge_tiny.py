"""The smallest E3DGE on which every part still runs."""

from __future__ import annotations

import torch

from inverters.encoders.e3dge import E3DGE, E3DGEConfig
from inverters.encoders.e3dge_branch import BranchConfig
from inverters.encoders.e3dge_encoder import E3DGEEncoderConfig
from inverters.encoders.e3dge_local import LocalConfig
from inverters.encoders.hourglass import HourglassConfig
from inverters.encoders.irse import IrseConfig
from tests.inverters.generators.stylesdf_tiny import TINY, tiny_stylesdf

HOURGLASS = HourglassConfig(in_channels=4, channels=16, stacks=2, depth=1, groups=2)
LOCAL = LocalConfig(hourglass=HOURGLASS, frequencies=2, modulated=TINY.width)
CONFIG = E3DGEConfig(
    generator=TINY,
    encoder=E3DGEEncoderConfig(
        size=32,
        backbone=IrseConfig(widths=(64, 64, 64, 64), units=(1, 1, 2, 1)),
        renderer_rows=TINY.renderer_rows,
        style_dim=TINY.style_dim,
        decoder_dim=TINY.decoder_dim,
    ),
    branch=BranchConfig(size=16, local=LOCAL, aligner_widths=(4, 5, 6, 7)),
    pose_widths=(4, 6),
)


def tiny_e3dge(config: E3DGEConfig = CONFIG, seed: int = 5) -> E3DGE:
    """Random weights from a fixed seed, in eval mode, with statistics unlike those of a new batch norm."""
    generator = tiny_stylesdf()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with torch.no_grad():
            means = generator.mean_codes(torch.randn(20, TINY.style_dim))
        network = E3DGE(config, generator, means).eval()
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return network
