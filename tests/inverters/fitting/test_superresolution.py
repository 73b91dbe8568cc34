"""Fine-tuning: only super-resolution moves, and towards the clip."""

from __future__ import annotations

import numpy as np
import torch

from inverters.fields.synthesis import InversionRenderer
from inverters.fitting.superresolution import finetune
from inverters.metrics import psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


def test_only_superresolution_moves_and_the_pictures_come_nearer() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 3)
    weights = {k: v.clone() for k, v in generator.state_dict().items()}
    codes = invert("w+", generator, problem, steps=30)
    tuned = finetune(generator, problem, codes, settings=tiny("w+").tune, steps=40)
    assert all(torch.equal(v, weights[k]) for k, v in generator.state_dict().items())
    assert torch.equal(tuned.ws, codes.ws) and tuned.method == "w+" and not codes.generator
    names = {name for name, _ in generator.named_parameters() if name.startswith("superresolution.")}
    assert set(tuned.generator) == names
    assert len(tuned.history["superresolution/image"]) == 40 and "codes/colour" in tuned.history
    assert tuned.info["steps"] == {"codes": 30, "superresolution": 40}
    assert "multiscale" in tuned.info["perceptual_loss"] or "lpips" in tuned.info["perceptual_loss"]

    rows = np.arange(3)
    target = torch.from_numpy(problem.crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    before, after = (
        InversionRenderer(generator, inversion).render(rows, problem.cam2world, problem.intrinsics)
        for inversion in (codes, tuned)
    )
    assert torch.equal(before.image_raw, after.image_raw)
    assert psnr(after.image, target).mean() > psnr(before.image, target).mean()


def test_renders_do_not_depend_on_how_rows_are_grouped() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 3, occluder=True)
    inversion = invert("in-n-out", generator, problem, steps=6)
    renderer = InversionRenderer(generator, inversion)
    together = renderer.render(np.array([2, 0]), problem.cam2world[[2, 0]], problem.intrinsics[[2, 0]])
    for k, row in enumerate((2, 0)):
        alone = renderer.render(np.array([row]), problem.cam2world[[row]], problem.intrinsics[[row]])
        assert torch.allclose(together.image[k], alone.image[0], atol=1e-4)
        assert alone.blend is not None and together.blend is not None
        assert torch.allclose(together.blend[k], alone.blend[0], atol=1e-4)
    low = renderer.render(
        np.array([1]), problem.cam2world[[1]], problem.intrinsics[[1]], high_resolution=False
    )
    assert torch.equal(low.image, low.image_raw) and low.image.shape == (1, 3, 16, 16)
    assert float(low.image_raw.abs().max()) <= 1
