"""The joint fit: rows that a step does not use are fixed; patches are parts of the whole image."""

from __future__ import annotations

from dataclasses import replace

import torch

from inverters.fitting.joint import JointFit, patch_pixels
from inverters.fitting.targets import Targets
from inverters.methods import in_n_out
from tests.inverters.tiny import own_clip, tiny_generator


def test_rows_that_were_not_seen_stay() -> None:
    generator = tiny_generator()
    targets = Targets(own_clip(generator, 4), 16, torch.device("cpu"))
    ws = torch.randn(4, generator.num_ws, 16)
    preset = replace(in_n_out.PRESETS["released-maskfree"].joint, lambda_perceptual=0.0, lambda_image=0.0)
    fit = JointFit(generator, targets, ws, preset, 10, 0)
    seen: set[int] = set()
    for i in range(3):
        before = fit.phi.values.clone(), fit.codes.values.clone()
        fit.step(i)
        for was, now in zip(before, (fit.phi.values, fit.codes.values), strict=True):
            moved = (was != now).flatten(1).any(1).nonzero().flatten().tolist()
            assert len(moved) == 1
        assert moved[0] not in seen
        seen |= set(moved)


def test_fewer_colours_of_the_decoder_are_its_first() -> None:
    decoder = tiny_generator(decoder_lr_mul=0.5).decoder
    features = torch.randn(2, 9, 4)
    for ours, theirs in zip(decoder.weights(3)(features), decoder(features), strict=True):
        assert torch.allclose(ours, theirs[..., :3] if theirs.ndim == 3 else theirs, atol=1e-6)


def test_the_middle_of_a_superresolved_patch_is_that_of_the_whole() -> None:
    generator = tiny_generator(neural_rendering_resolution=32, img_resolution=128)
    features = torch.randn(1, 6, 32, 32) * 0.3
    ws = torch.randn(1, generator.num_ws, 16)
    whole = generator.superresolve(features, ws)
    pixels = patch_pixels(torch.tensor([5, 9]), 16, 32)
    part = features.flatten(2).gather(2, pixels[:, None].expand(1, 6, -1)).reshape(1, 6, 16, 16)
    patch = generator.superresolution.patch(part, ws, generator.config.neural_rendering_resolution)
    wanted = whole[..., 20:84, 36:100]
    assert patch.shape == wanted.shape
    middle = slice(12, -12)
    assert torch.allclose(patch[..., middle, middle], wanted[..., middle, middle], atol=1e-4)
