"""StyleSDF's generator: mapping, signed distance field, volume rendering, decoder; and its loader.

Names of tensors are those of the released files; results are equal up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from inverters.generators.strict_loading import entry_or_all, filled, tensors_of
from inverters.generators.stylesdf_config import StyleSDFConfig
from inverters.generators.stylesdf_decoder import UNUSED_KEYS, Decoder
from inverters.generators.stylesdf_renderer import Shape, VolumeRenderer

_GLOBAL = "renderer.network.netGlobal."
_LOCAL = r"renderer\.network\.netLocal\..*"


@dataclass(frozen=True)
class Codes:
    """A code of both networks."""

    renderer: Tensor  # [N,renderer_rows,style_dim]
    decoder: Tensor  # [N,decoder_rows,decoder_dim]


@dataclass(frozen=True)
class Picture:
    """A rendering of a code."""

    image: Tensor  # [N,3,S,S] in about [-1,1], not clamped
    thumb: Tensor  # [N,3,h,h] in [-1,1]
    features: Tensor  # [N,W,h,h]
    shape: Shape


class StyleSDF(nn.Module):
    """A StyleSDF generator. A new one has random weights; `load_stylesdf` reads released ones."""

    def __init__(self, config: StyleSDFConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or StyleSDFConfig()
        self.style = nn.ModuleList(
            nn.Linear(config.style_dim, config.style_dim) for _ in range(config.mapping_layers)
        )
        self.renderer = VolumeRenderer(config)
        self.decoder = Decoder(config)

    def mapping(self, z: Tensor) -> Tensor:
        """Map z [N,D], which is not normalised, to w [N,D], the same for all rows of the renderer's code."""
        x = z
        for layer in self.style:
            x = F.leaky_relu(layer(x), 0.2)
        return x

    def mean_codes(self, z: Tensor) -> Codes:
        """Return the means [1,1,D] over z [N,D] in both spaces, towards which codes are truncated."""
        w = self.mapping(z)
        means = (x.mean(dim=0, keepdim=True)[:, None] for x in (w, self.decoder.style(w)))
        return Codes(*means)

    def codes(self, z: Tensor, psi: float = 1.0, means: Codes | None = None) -> Codes:
        """Return the codes of z [N,D]; `psi` below 1 pulls both spaces towards `means`, which it needs.

        The decoder's code is computed from the truncated w, then truncated itself.
        """
        if psi != 1 and means is None:
            raise ValueError(f"truncation by {psi} needs the mean codes")
        w = self.mapping(z)
        if means is not None:
            w = means.renderer[:, 0].lerp(w, psi)
        decoder_w = self.decoder.style(w)
        if means is not None:
            decoder_w = means.decoder[:, 0].lerp(decoder_w, psi)
        config = self.config
        return Codes(
            renderer=w[:, None].expand(-1, config.renderer_rows, -1),
            decoder=decoder_w[:, None].expand(-1, config.decoder_rows, -1),
        )

    def render(self, codes: Codes, poses: Tensor) -> Picture:
        """Return the pictures of codes seen from poses [N,3,4]."""
        shape = self.renderer.shape(codes.renderer, poses)
        thumb, features = self.renderer.paint(shape, codes.renderer)
        return Picture(self.decoder(features, codes.decoder), thumb, features, shape)


def load_stylesdf(
    file: object, config: StyleSDFConfig | None = None, what: str = "StyleSDF's generator"
) -> StyleSDF:
    """Return the generator of a public file, as a safe reader gives it: its state dict, alone or as `g_ema`.

    E3DGE's names of the renderer, with `netGlobal`, are read, too; its `netLocal` is left out.

    Raises:
        CheckpointError: the weights do not fit the configuration (None: that of FFHQ 1024).
    """
    tensors = tensors_of(entry_or_all(file, "g_ema"), what)
    renamed = {name.replace(_GLOBAL, "renderer.network."): tensor for name, tensor in tensors.items()}
    return filled(lambda: StyleSDF(config), renamed, what, (*UNUSED_KEYS, _LOCAL))
