"""GOAE's adaptive feature alignment (AFA): a picture's residual refines features F of the backbone to F*.

Tokens of F attend to those of the residual, once for a scale and once for an offset: F* = gamma F + beta.
Names of tensors are those of `afa_FFHQ.pt`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.cross_attention import CrossAttention
from inverters.encoders.irse import Backbone, IrseConfig
from inverters.generators.config import GeneratorConfig
from inverters.generators.layers import EqualisedConv, scaled_lrelu
from inverters.generators.strict_loading import filled, tensors_of


@dataclass(frozen=True)
class AfaConfig:
    """Shapes of the alignment; defaults are those of `afa_FFHQ.pt`."""

    image_size: int = 512
    """Side of the residual in pixels."""
    block: int = 32
    """Resolution of the backbone's block after which features are refined."""
    channels: int = 512
    """Channels of those features."""
    body: IrseConfig = field(default_factory=lambda: IrseConfig(widths=(64, 128, 256), units=(3, 3, 3)))
    """The network that reads the residual."""
    heads: int = 4
    """Heads of the cross attention; they divide the channels."""

    @classmethod
    def sized_for(cls, generator: GeneratorConfig, block: int = 32, **changes: Any) -> AfaConfig:
        """Return the alignment for a generator's image and backbone, with other fields as given."""
        base = cls(image_size=generator.img_resolution, block=block, channels=generator.channels(block))
        return replace(base, **changes)


class ScaledLeakyRelu(nn.Module):
    """Leaky ReLU of slope 0.2, times sqrt(2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to the same shape."""
        return scaled_lrelu(x)


class Afa(Backbone):
    """Refines features of the generator's backbone by the residual of a picture."""

    def __init__(self, config: AfaConfig | None = None) -> None:
        config = config or AfaConfig()
        super().__init__(config.body)
        self.config = config
        self.output_layer = nn.Sequential(
            EqualisedConv(config.body.widths[-1], config.channels),
            ScaledLeakyRelu(),
            EqualisedConv(config.channels, config.channels),
        )
        self.cross_att_gamma = CrossAttention(config.channels, config.heads)
        self.cross_att_beta = CrossAttention(config.channels, config.heads)

    def modulation(self, features: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return gamma and beta [N,C,b,b] of features [N,C,b,b] and the residual [N,3,S,S]."""
        seen = self.output_layer(self.body(self.input_layer(residual)))
        queries, keys = (F.layer_norm(x.flatten(2).mT, x.shape[1:2]) for x in (features, seen))
        gamma, beta = self.cross_att_gamma(queries, keys), self.cross_att_beta(queries, keys)
        return gamma.mT.reshape(features.shape), beta.mT.reshape(features.shape)

    def forward(self, features: Tensor, residual: Tensor) -> Tensor:
        """Map features F [N,C,b,b] and the residual [N,3,S,S] (reconstruction minus picture) to F*."""
        gamma, beta = self.modulation(features, residual)
        return gamma * features + beta


def load_afa(state: object, config: AfaConfig | None = None, what: str = "the file") -> Afa:
    """Return the alignment with the weights of `afa_FFHQ.pt`, as a safe reader gives them.

    Raises:
        CheckpointError: the weights do not fit the configuration (None: the official one).
    """
    return filled(lambda: Afa(config), tensors_of(state, what), what)
