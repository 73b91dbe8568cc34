"""In-N-Out: the second field models what the face cannot explain; removal restores the face."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from inverters.base import Inversion, InversionProblem
from inverters.errors import FingerprintError
from inverters.fields.synthesis import InversionRenderer
from inverters.generators.eg3d import Generator
from inverters.methods import in_n_out
from inverters.metrics import psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


def pictures(problem: InversionProblem) -> torch.Tensor:
    return torch.from_numpy(problem.crops).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture(scope="module")
def solved() -> tuple[Generator, InversionProblem, Inversion]:
    """A known face behind a green square, solved without masks."""
    generator = tiny_generator()
    problem = replace(own_clip(generator, 3, occluder=True), occluder_masks=None)
    return generator, problem, invert("in-n-out", generator, problem, steps=360)


def test_the_second_field_takes_the_occluder(solved) -> None:
    generator, problem, inversion = solved
    rows = np.arange(3)
    seen = InversionRenderer(generator, inversion).render(rows, problem.cam2world, problem.intrinsics)
    target = torch.nn.functional.avg_pool2d(pictures(problem), 2)
    assert float(psnr(seen.image_raw, target).mean()) > 20
    assert seen.blend is not None
    hidden = torch.zeros(3, 1, 16, 16)
    hidden[..., 8:14, 4:12] = 1
    inside, outside = (seen.blend * hidden).sum() / hidden.sum(), (seen.blend * (1 - hidden)).mean()
    assert inside > 0.6 and outside < 0.25


def test_removal_is_nearer_to_the_face_than_what_was_filmed(solved) -> None:
    generator, problem, inversion = solved
    clean = pictures(own_clip(generator, 3))
    hidden = torch.zeros(3, 1, 32, 32)
    hidden[..., 16:28, 8:24] = 1
    seen = InversionRenderer(generator, inversion).render(
        np.arange(3), problem.cam2world, problem.intrinsics, remove_occluder=True
    )
    assert seen.blend is not None and not seen.blend.any()
    assert (psnr(seen.image, clean, hidden) > psnr(pictures(problem), clean, hidden) + 3).all()


def test_codes_of_the_inversion_reach_the_picture_and_the_field_stays(solved) -> None:
    generator, problem, inversion = solved
    renderer, rows = InversionRenderer(generator, inversion), np.array([1])
    at = problem.cam2world[rows], problem.intrinsics[rows]
    before = renderer.render(rows, *at)
    moved = renderer.render(rows, *at, ws=inversion.ws[rows] + 0.5)
    assert before.blend is not None and moved.blend is not None
    change = (before.image_raw - moved.image_raw).abs().mean(1, keepdim=True)
    covered = before.blend > 0.9
    assert change[~covered].mean() > 3 * change[covered].mean()


def test_every_preset_runs_and_says_what_ran() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 2, occluder=True)
    for name, preset in (in_n_out.PRESETS | {"tiny": tiny("in-n-out")}).items():
        few = replace(preset, codes=replace(preset.codes, candidates=min(preset.codes.candidates, 6)))
        masked, as_paper = name != "released-maskfree", name == "paper"
        given = problem if masked else replace(problem, occluder_masks=None)
        inversion = invert("in-n-out", generator, given, few, steps=2)
        assert set(inversion.ood) >= {"planes", "phi", "decoder.net.0.weight", "decoder.net.2.bias"}
        assert inversion.ood["phi"].shape == (2, 32)
        assert all(math.isfinite(v) for values in inversion.history.values() for v in values)
        assert inversion.info["masks"] is masked
        assert inversion.info["transmittance"] == ("sum" if as_paper else "product")
        assert ("joint/ood" in inversion.history) == (name == "released-masked")
        assert ("joint/area" in inversion.history) == name.startswith("released")
        assert ("joint/w" in inversion.history) == (as_paper or name == "released-maskfree")


def test_the_papers_numbers() -> None:
    """Section 5.1, and the table of where the released code departs from it."""
    paper, masked, free = (in_n_out.PRESETS[n] for n in ("paper", "released-masked", "released-maskfree"))
    assert (paper.codes.epochs, paper.codes.rate, paper.codes.lambda_delta) == (200, 1e-3, 1e-3)
    assert (paper.joint.steps, paper.joint.rate, paper.joint.lambda_entropy) == (10_000, 5e-3, 1.0)
    assert (paper.joint.lambda_w, paper.joint.lambda_depth) == (1.0, 0.1)
    assert (paper.tune.epochs, paper.tune.rate) == (100, 1e-3)
    assert masked.joint.rate_w == masked.joint.rate / 100
    assert (masked.joint.skew, masked.joint.lambda_area, masked.joint.lambda_w) == (2.0, 1.0, 0.0)
    assert (free.joint.lambda_w, free.joint.lambda_delta, free.joint.squared) == (1.0, 2e-3, False)
    assert (free.tune.epochs, masked.codes.ratio, free.joint.lambda_ood) == (400, 0.7, 0.0)


def test_depth_term_is_for_a_single_image_only() -> None:
    generator = tiny_generator()

    def prior(rows: torch.Tensor) -> torch.Tensor:
        return torch.linspace(2.4, 3.0, 256).reshape(1, 16, 16).expand(len(rows), -1, -1)

    paper = in_n_out.PRESETS["paper"]
    few = replace(paper, codes=replace(paper.codes, candidates=0))
    one, two = (
        in_n_out.invert(generator, own_clip(generator, n), settings=few, steps=2, depth_prior=prior)
        for n in (1, 2)
    )
    assert all(v > 0 for v in one.history["joint/depth"])
    assert "joint/depth" not in two.history


def test_codes_of_another_generator_are_refused(solved) -> None:
    _, _, inversion = solved
    other = tiny_generator()
    other.card = replace(other.card, fingerprint="another")
    with pytest.raises(FingerprintError, match=r"tiny.*another"):
        InversionRenderer(other, inversion)
