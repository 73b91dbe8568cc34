"""What a reconstruction holds beside its pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inverters.base import Inversion
from inverters.fields.synthesis import InversionRenderer
from pipeline.stages.finetune import reconstruct
from tests.inverters.tiny import own_clip, tiny_generator


@pytest.mark.parametrize("side", [8, 16, 24])
def test_an_encoders_soft_mask_is_the_blend(side: int) -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 3)
    ws = generator.backbone.mapping.w_avg.expand(3, generator.num_ws, -1)
    cover = torch.zeros(3, side, side)
    cover[1, side // 2 :] = 1
    found = Inversion("e4e-mask", "draft", "tiny", problem.frames, ws, seen={"cover": cover})
    rows = list(reconstruct(InversionRenderer(generator, found), problem))
    blend = np.concatenate([part["blend"] for part in rows]).astype(np.float32)
    assert blend.shape == (3, 16, 16) and blend[[0, 2]].max() == 0
    assert blend[1, :7].max() < 0.01 and blend[1, 9:].min() > 0.99
    plain = Inversion("w+", "draft", "tiny", problem.frames, ws)
    assert "blend" not in next(iter(reconstruct(InversionRenderer(generator, plain), problem)))
