"""Both stages of GOAE as one network: a picture to w+, and the alignment of features by its residual.

Yuan et al. 2023, "Make Encoder Great Again in 3D GAN Inversion"; `encoders.goae` has what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from inverters.encoders.e4e_mask import E4eMask, E4eMaskConfig, Seen
from inverters.encoders.first_stage import told
from inverters.encoders.goae import Goae, GoaeSettings
from inverters.encoders.goae_afa import Afa, AfaConfig, load_afa
from inverters.encoders.goae_encoder import GoaeEncoder, GoaeEncoderConfig, load_goae_encoder
from inverters.encoders.goae_mix import Form
from inverters.generators.eg3d import Generator
from inverters.rendering.sampling import Sampling


@dataclass(frozen=True)
class GoaeConfig:
    """Sizes of both stages, and the forms that they were trained for; defaults are those of the release.

    The first stage is GOAE's, or our own `e4e-mask`.
    """

    codes: GoaeEncoderConfig | E4eMaskConfig = field(default_factory=GoaeEncoderConfig)
    afa: AfaConfig = field(default_factory=AfaConfig)
    residual: Form = "released"
    """See `GoaeSettings`, as for the next two."""
    mix: Form = "released"
    edit: Form = "released"


class GoaeNetwork(nn.Module):
    """The encoder to w+ and the alignment; the generator is given to each call."""

    def __init__(self, config: GoaeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GoaeConfig()
        codes = config.codes
        self.encoder = E4eMask(codes) if isinstance(codes, E4eMaskConfig) else GoaeEncoder(codes)
        self.afa = Afa(config.afa)

    def told(self, pictures: Tensor) -> Seen:
        """Return what the first stage tells of pictures [N,3,S,S] in [-1,1], resampled to its size."""
        return told(self.encoder, pictures)

    def with_generator(self, generator: Generator, sampling: Sampling | None = None) -> Goae:
        """Return both stages with a generator and the sampling of its rays (None: its own).

        Raises:
            FingerprintError: the generator has codes or features of other shapes.
        """
        c = self.config
        settings = GoaeSettings(residual=c.residual, mix=c.mix, edit=c.edit, sampling=sampling)
        return Goae(generator, self.encoder, self.afa, settings)


@torch.no_grad()
def begin_at_codes(afa: Afa) -> None:
    """Set a fresh alignment to F* = F for every residual.

    A block of cross attention ends with x + FFN(x), where the hidden layer is twice as wide as x. FFN is made
    c - x, from relu(x) - relu(-x) = x: c is 1 for gamma and 0 for beta.
    """
    for block, value in ((afa.cross_att_gamma, 1.0), (afa.cross_att_beta, 0.0)):
        same = torch.eye(block.width)
        block.linear1.weight.copy_(torch.cat([same, -same]))
        block.linear1.bias.zero_()
        block.linear2.weight.copy_(torch.cat([-same, same], 1))
        block.linear2.bias.fill_(value)


def load_goae(
    encoder: object,
    afa: object,
    what: str = "the file",
    other: str = "the other",
    config: GoaeConfig | None = None,
) -> GoaeNetwork:
    """Return the network of `encoder_FFHQ.pt` and `afa_FFHQ.pt`, as a safe reader gives them.

    Args:
        encoder: the first file.
        afa: the second file.
        what: name of the first in messages.
        other: name of the second in messages.
        config: sizes, with GOAE's own first stage; None: those of the release.

    Raises:
        CheckpointError: one of them has other weights.
    """
    config = config or GoaeConfig()
    assert isinstance(config.codes, GoaeEncoderConfig)
    with torch.device("meta"):
        network = GoaeNetwork(config)
    network.encoder = load_goae_encoder(encoder, config.codes, what)
    network.afa = load_afa(afa, config.afa, other)
    return network.eval()
