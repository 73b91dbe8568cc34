"""The networks have the keys and shapes of the official files, each of them and no other."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from inverters.encoders import e3dge_encoder, e3dge_local
from inverters.encoders.e3dge_align import ResidualAligner, SpatialFeatureTransform
from inverters.encoders.e3dge_encoder import E3DGEEncoder, E3DGEEncoderConfig
from inverters.encoders.e3dge_local import LocalConfig, LocalEncoder
from inverters.encoders.e4e import Encoder4Editing
from inverters.encoders.goae_afa import Afa
from inverters.encoders.goae_encoder import GoaeEncoder
from inverters.encoders.ide3d import HybridEncoder
from inverters.encoders.irse import ArcFace
from inverters.encoders.pose_net import PoseNet
from inverters.encoders.psp import GradualStyleEncoder, PspConfig, SingleWEncoder
from inverters.encoders.swin import TABLES
from inverters.encoders.triplanenet import OFFSETS, OffsetEncoder
from inverters.generators import stylesdf_decoder
from inverters.generators.stylesdf import StyleSDF
from tests.inverters.encoders.e3dge_rule import POSE, RELEASED, TRAINING
from tests.inverters.encoders.rule import keys
from tests.inverters.generators import stylesdf_rule

ROWS_14 = PspConfig(num_ws=14)
SECOND = "triplanenet_encoder."
LAYOUTS: dict[tuple[str, str], tuple[str, Callable[[], nn.Module]]] = {
    ("psp_e4e", "encoder, 18 styles"): ("encoder.", GradualStyleEncoder),
    ("psp_e4e", "encoder, 14 styles"): ("encoder.", lambda: Encoder4Editing(ROWS_14)),
    ("psp_e4e", "encoder, single W"): ("encoder.", SingleWEncoder),
    ("psp_e4e", "model_ir_se50.pth"): ("", ArcFace),
    ("ide3d", "E.state_dict()"): ("", HybridEncoder),
    ("triplanenet", "psp_encoder (v1 and v2)"): ("psp_encoder.", lambda: GradualStyleEncoder(ROWS_14)),
    ("triplanenet", "triplanenet_encoder v1"): (SECOND, OffsetEncoder),
    ("triplanenet", "triplanenet_encoder v2 pixelshuffle"): (
        SECOND,
        lambda: OffsetEncoder(OFFSETS["v2-shuffle"]),
    ),
    ("triplanenet", "triplanenet_encoder v2 upsample"): (
        SECOND,
        lambda: OffsetEncoder(OFFSETS["v2-nearest"]),
    ),
    ("goae", "encoder_FFHQ.pt"): ("", GoaeEncoder),
    ("goae", "afa_FFHQ.pt"): ("", Afa),
    ("e3dge", "encoder"): ("", E3DGEEncoder),
    ("e3dge", "encoder (without decoder heads)"): (
        "",
        lambda: E3DGEEncoder(E3DGEEncoderConfig(decoder_head=False)),
    ),
    ("e3dge", RELEASED): ("", LocalEncoder),
    ("e3dge", TRAINING): ("", lambda: LocalEncoder(LocalConfig(variant="training"))),
    ("e3dge", "grid_align"): ("", ResidualAligner),
    ("e3dge", "Fuse_sft_block"): ("", SpatialFeatureTransform),
    ("e3dge", POSE): ("", PoseNet),
    ("stylesdf", stylesdf_rule.TITLE): ("", StyleSDF),
}
UNUSED = {
    ("e3dge", "encoder"): e3dge_encoder.UNUSED_KEYS,
    ("e3dge", RELEASED): e3dge_local.UNUSED_KEYS,
    ("e3dge", TRAINING): e3dge_local.UNUSED_KEYS,
    ("stylesdf", stylesdf_rule.TITLE): stylesdf_decoder.UNUSED_KEYS,
}


@pytest.mark.parametrize(("file", "title"), LAYOUTS)
def test_keys_and_shapes(file: str, title: str) -> None:
    prefix, build = LAYOUTS[file, title]
    with torch.device("meta"):
        network = build()
    tables = {name: tensor for name, tensor in network.named_buffers() if name.endswith(TABLES)}
    found = {
        prefix + name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in (network.state_dict() | tables).items()
    }
    layout, unused = keys(file, title), UNUSED.get((file, title), ())
    assert all(any(re.fullmatch(pattern, name) for name in layout) for pattern in unused)
    left_out = {name for name in layout if any(re.fullmatch(pattern, name) for pattern in unused)}
    assert found == {name: layout[name] for name in layout if name not in left_out}
