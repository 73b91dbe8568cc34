"""The networks have the keys and shapes of the official files, each of them and no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from inverters.encoders.e4e import Encoder4Editing
from inverters.encoders.ide3d import HybridEncoder
from inverters.encoders.irse import ArcFace
from inverters.encoders.psp import GradualStyleEncoder, PspConfig, SingleWEncoder
from inverters.encoders.triplanenet import OFFSETS, OffsetEncoder
from tests.inverters.encoders.rule import keys

ROWS_14 = PspConfig(num_ws=14)
LAYOUTS: list[tuple[str, str, str, Callable[[], nn.Module]]] = [
    ("psp_e4e", "encoder, 18 styles", "encoder.", GradualStyleEncoder),
    ("psp_e4e", "encoder, 18 styles", "encoder.", Encoder4Editing),
    ("psp_e4e", "encoder, 14 styles", "encoder.", lambda: GradualStyleEncoder(ROWS_14)),
    ("psp_e4e", "encoder, single W", "encoder.", SingleWEncoder),
    ("psp_e4e", "model_ir_se50.pth", "", ArcFace),
    ("ide3d", "E.state_dict()", "", HybridEncoder),
    ("triplanenet", "psp_encoder (v1 and v2)", "psp_encoder.", lambda: GradualStyleEncoder(ROWS_14)),
    ("triplanenet", "triplanenet_encoder v1", "triplanenet_encoder.", OffsetEncoder),
    (
        "triplanenet",
        "triplanenet_encoder v2 pixelshuffle",
        "triplanenet_encoder.",
        lambda: OffsetEncoder(OFFSETS["v2-shuffle"]),
    ),
    (
        "triplanenet",
        "triplanenet_encoder v2 upsample",
        "triplanenet_encoder.",
        lambda: OffsetEncoder(OFFSETS["v2-nearest"]),
    ),
]


@pytest.mark.parametrize(("file", "title", "prefix", "build"), LAYOUTS)
def test_keys_and_shapes(file: str, title: str, prefix: str, build: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        network = build()
    found = {
        prefix + name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in network.state_dict().items()
    }
    assert found == keys(file, title)
