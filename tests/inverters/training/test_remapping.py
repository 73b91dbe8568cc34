"""Another mapping for a generator that has learned."""

from __future__ import annotations

import copy

import torch

from inverters.generators.eg3d import Generator
from inverters.training.people_pictures import sample_scores, to_z
from inverters.training.remapping import remap
from inverters.training.start import prepare
from tests.inverters.training.conftest import TINY


def test_a_new_mapping_leaves_the_planes_about_as_they_were() -> None:
    """Most of what they changed by, had the affine layers stayed, is undone."""
    torch.manual_seed(2)
    generator = Generator(TINY)
    prepare(generator)
    z = to_z(sample_scores(64, torch.Generator().manual_seed(9)), TINY.z_dim)
    before, old = copy.deepcopy(generator), generator.mapping(z)
    left = remap(generator, steps=60, people=3000, batch=128)
    new = generator.mapping(z)
    assert 0 < left < 0.5
    with torch.no_grad():
        wanted, found, alone = before.planes(old), generator.planes(new), before.planes(new)
    kept, changed = (found - wanted).square().mean(), (alone - wanted).square().mean()
    assert changed > 0.01 * wanted.var() and kept < 0.3 * changed
    assert not any(p.requires_grad for p in generator.backbone.mapping.parameters())
