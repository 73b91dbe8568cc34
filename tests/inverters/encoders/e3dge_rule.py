"""E3DGE's sub-dictionaries by the golden rule."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from tests.inverters.encoders.rule import NOT_DRAWN, draw, equalised, keys

RELEASED = "netLocal HGPIFuNetGANResidualResnetFC"
TRAINING = "netLocal HGPIFuNetGANResidual"
POSE = "ffhq_vol_renderer.pt d"
_EQUALISED = {
    "encoder": (equalised(r"\.linear\.weight$"),),
    TRAINING: (equalised(r"local_feat_to_tex_modulations_linear\.weight$"),),
}
_ALIAS = re.compile(r"(image_filter\.conv[24])\.bn4\.")
_UNREAD = re.compile(r"styles_stylegan\.[1-9]")
"""Large tensors that the network does not read: zero, in no memory."""


def dictionary(title: str) -> dict[str, Tensor]:
    """All tensors of a sub-dictionary; two names of one norm hold the same values."""
    found = {}
    for name, (shape, dtype) in keys("e3dge", title).items():
        if _UNREAD.match(name):
            found[name] = torch.zeros(1).expand(shape)
        elif NOT_DRAWN.search(name):
            found[name] = torch.zeros(shape, dtype=torch.int64 if "int" in dtype else torch.float32)
        else:
            found[name] = draw(_ALIAS.sub(r"\1.downsample.0.", name), shape, _EQUALISED.get(title, ()))
    return found
