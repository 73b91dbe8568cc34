"""Methods that begin from another inversion, and those that say that they cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inverters.base import Inversion, InversionProblem
from inverters.errors import FingerprintError, InverterError
from inverters.fitting.superresolution import finetune
from inverters.generators.eg3d import Generator
from tests.inverters.methods.test_pti import numbers
from tests.inverters.methods.test_w_plus import crop_psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

Scene = tuple[Generator, InversionProblem, dict[str, Inversion]]


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A clip of a known face behind a green square, and inversions of it."""
    generator = tiny_generator()
    problem = replace(own_clip(generator, 3, occluder=True), occluder_masks=None)
    steps = {"w": 20, "w+": 20, "pti": 24, "pose-opt": 12, "vive3d": 20, "in-n-out": 24}
    return generator, problem, {name: invert(name, generator, problem, steps=n) for name, n in steps.items()}


@pytest.mark.parametrize(("method", "start"), [("w", "w"), ("w+", "w"), ("w+", "w+"), ("w+", "pti")])
def test_codes_go_on_from_codes(method: str, start: str, scene: Scene) -> None:
    generator, problem, known = scene
    begin = known[start]
    still = replace(tiny(method), codes=replace(tiny(method).codes, coordinate_rate=0.0, rate=0.0))
    same = invert(method, generator, problem, still, start=begin, steps=1)
    torch.testing.assert_close(same.ws, begin.ws, atol=1e-5, rtol=0)
    assert same.generator == begin.generator
    found = invert(method, generator, problem, start=begin, steps=20)
    assert not torch.allclose(found.ws, begin.ws, atol=1e-4)
    assert crop_psnr(generator, problem, found) > crop_psnr(generator, problem, begin)


def test_the_projectors_schedule_goes_on_too(scene: Scene) -> None:
    generator, problem, known = scene
    codes = replace(tiny("w+").codes, coordinates=False, candidates=3, rate=0.0, coordinate_rate=0.0)
    same = invert("w+", generator, problem, replace(tiny("w+"), codes=codes), start=known["w+"], steps=2)
    torch.testing.assert_close(same.ws, known["w+"].ws, atol=1e-5, rtol=0)


def test_w_refuses_codes_whose_layers_differ(scene: Scene) -> None:
    generator, problem, known = scene
    with pytest.raises(InverterError, match="codes in W cannot begin from codes whose layers differ"):
        invert("w", generator, problem, start=known["w+"], steps=2)


@pytest.mark.parametrize("method", ["pti", "hfgi3d"])
@pytest.mark.parametrize("start", ["w", "w+", "pti"])
def test_weights_are_tuned_about_codes_that_are_given(method: str, start: str, scene: Scene) -> None:
    generator, problem, known = scene
    begin = known[start]
    found = invert(method, generator, problem, start=begin, steps=12)
    assert torch.equal(found.ws, begin.ws)
    assert not any(name.startswith("codes/") for name in found.history)
    assert found.info["steps"]["codes"] == 0 and sum(found.info["steps"].values()) == 12
    assert crop_psnr(generator, problem, found) > crop_psnr(generator, problem, begin)


def test_cameras_that_were_refined_stay(scene: Scene) -> None:
    generator, problem, known = scene
    turned = replace(known["pose-opt"], generator={})
    for method in ("w+", "pti", "hfgi3d"):
        found = invert(method, generator, problem, start=turned, steps=6)
        assert found.cameras.keys() == turned.cameras.keys()
        assert all(torch.equal(found.cameras[name], turned.cameras[name]) for name in turned.cameras)


def test_a_second_field_is_fitted_beside_codes_that_are_given(scene: Scene) -> None:
    generator, problem, known = scene
    settings = tiny("in-n-out")
    resting = replace(settings.codes, coordinate_rate=0.0, rate=0.0, frame_rate=0.0, pose_rate=0.0)
    found = invert(
        "in-n-out", generator, problem, replace(settings, codes=resting), start=known["w+"], steps=12
    )
    torch.testing.assert_close(found.ws, known["w+"].ws, atol=1e-5, rtol=0)
    assert found.ood and set(found.info["steps"]) == {"codes", "joint"}
    assert sum(found.info["steps"].values()) == 12


def test_a_second_field_goes_on(scene: Scene) -> None:
    generator, problem, known = scene
    begin = known["in-n-out"]
    still = replace(tiny("in-n-out").joint, rate=0.0, decoder_rate=0.0)
    same = invert(
        "in-n-out", generator, problem, replace(tiny("in-n-out"), joint=still), start=begin, steps=2
    )
    assert same.info["steps"] == {"codes": 0, "joint": 2}
    assert all(torch.equal(tensor, same.ood[name]) for name, tensor in begin.ood.items())
    assert all(torch.equal(tensor, same.cameras[name]) for name, tensor in begin.cameras.items())
    found = invert("in-n-out", generator, problem, start=begin, steps=40)
    assert torch.equal(found.ws, begin.ws) and not any(name.startswith("codes/") for name in found.history)
    assert crop_psnr(generator, problem, found) > crop_psnr(generator, problem, begin)
    other = replace(tiny("in-n-out"), joint=replace(tiny("in-n-out").joint, transmittance="sum"))
    with pytest.raises(InverterError, match="fitted with transmittance 'product', the preset's is 'sum'"):
        invert("in-n-out", generator, problem, other, start=begin, steps=2)


def test_tuned_superresolution_is_kept(scene: Scene) -> None:
    generator, problem, known = scene
    tuned = finetune(generator, problem, known["in-n-out"], settings=tiny("in-n-out").tune, steps=3)
    found = invert("in-n-out", generator, problem, start=tuned, steps=4)
    assert found.generator.keys() == tuned.generator.keys()
    assert all(torch.equal(tensor, found.generator[name]) for name, tensor in tuned.generator.items())


def test_methods_without_a_beginning_say_so(scene: Scene) -> None:
    generator, problem, known = scene
    with pytest.raises(InverterError, match="vive3d cannot begin from another inversion; run it without"):
        invert("vive3d", generator, problem, start=known["w"], steps=4)


@pytest.mark.parametrize("method", ["w", "w+", "pti", "hfgi3d"])
def test_parts_that_a_method_cannot_go_on_with_are_named(method: str, scene: Scene) -> None:
    generator, problem, known = scene
    with pytest.raises(
        InverterError, match="from an inversion by in-n-out: it cannot go on with its second field, only with"
    ):
        invert(method, generator, problem, start=known["in-n-out"], steps=4)


def test_a_start_is_of_the_same_generator_and_frames(scene: Scene) -> None:
    generator, problem, known = scene
    with pytest.raises(FingerprintError, match="another"):
        invert("w+", generator, problem, start=replace(known["w"], fingerprint="another"), steps=2)
    with pytest.raises(InverterError, match="an inversion of other frames: it has 3, the clip 2"):
        invert("w+", generator, problem.of_rows(np.array([0, 1])), start=known["w"], steps=2)


def test_checkpoints_of_another_start_are_not_used(scene: Scene, tmp_path: Path) -> None:
    generator, problem, known = scene
    steps: list[int] = []

    def run(start: Inversion, folder: Path | None) -> Inversion:
        steps.clear()
        how = {"checkpoint_dir": folder, "on_step": lambda done, *_: steps.append(done)}
        return invert("pti", generator, problem, start=start, steps=4, **how)

    whole = numbers(run(known["w+"], None))
    run(known["w"], tmp_path)
    found = numbers(run(known["w+"], tmp_path))
    assert steps == [1, 2, 3, 4] and all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    run(known["w+"], tmp_path)
    assert not steps
