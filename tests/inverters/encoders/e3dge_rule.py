"""E3DGE's sub-dictionaries by the golden rule."""

from __future__ import annotations

import re

from torch import Tensor

from tests.inverters.encoders.rule import equalised, keys, rule_dictionary

RELEASED = "netLocal HGPIFuNetGANResidualResnetFC"
TRAINING = "netLocal HGPIFuNetGANResidual"
POSE = "ffhq_vol_renderer.pt d"
_EQUALISED = {"encoder": (equalised(r"\.linear\.weight$"),)}
_TWIN = re.compile(r"(image_filter\.conv[24])\.bn4\.")
_UNREAD = re.compile(r"styles_stylegan\.[1-9]")


def dictionary(title: str) -> dict[str, Tensor]:
    """The tensors of a sub-dictionary that are read; two names of one norm hold the same values."""
    layout = {name: entry for name, entry in keys("e3dge", title).items() if not _UNREAD.match(name)}
    drawn = rule_dictionary(layout, _EQUALISED.get(title, ()))
    return {name: drawn[_TWIN.sub(r"\1.downsample.0.", name)] for name in drawn}
