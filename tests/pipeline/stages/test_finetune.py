"""What a reconstruction holds beside its pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inverters.base import Inversion
from inverters.fields.synthesis import InversionRenderer
from inverters.methods.table import find_method
from pipeline.stages.finetune import reconstruct
from tests.inverters.tiny import own_clip, tiny, tiny_generator


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


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_fit_with_a_field_has_its_share_and_the_mask_that_it_began_at(by_hand: bool) -> None:
    """Masks by hand take the place of the encoder's."""
    generator = tiny_generator()
    problem = own_clip(generator, 3)
    ws = generator.backbone.mapping.w_avg.expand(3, generator.num_ws, -1)
    cover = torch.zeros(3, 16, 16)
    cover[1, 8:] = 1
    start = Inversion("e4e-mask", "draft", "tiny", problem.frames, ws, seen={"cover": cover})
    start = replace(start, fingerprint=generator.card.fingerprint)
    if by_hand:
        problem = replace(problem, occluder_masks=np.full(problem.crops.shape[:3], 255, np.uint8))
    method = find_method("in-n-out")
    found = method(generator, problem, settings=tiny("in-n-out"), start=start, steps=2)
    rows = list(reconstruct(InversionRenderer(generator, found), problem))
    assert all("blend" in part for part in rows)
    if by_hand:
        assert not any("cover" in part for part in rows)
        return
    told = np.concatenate([part["cover"] for part in rows]).astype(np.float32)
    np.testing.assert_allclose(told, cover, atol=1e-3)
