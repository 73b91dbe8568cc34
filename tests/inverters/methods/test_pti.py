"""PTI: weights are tuned, codes and the given generator are not changed, and it stops by LPIPS."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import inverters.fitting.loop
from inverters.base import Inversion
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting import losses
from inverters.fitting.superresolution import finetune
from inverters.fitting.weights import Locality
from inverters.methods.table import find_method
from tests.inverters.methods.test_resume import results
from tests.inverters.methods.test_w_plus import crop_psnr
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


def numbers(inversion: Inversion) -> dict[str, torch.Tensor]:
    return results(inversion) | {f"cameras.{k}": v for k, v in inversion.cameras.items()}


@pytest.mark.parametrize("frames", [1, 3])
def test_weights_show_more_than_codes_do_in_the_same_number_of_steps(frames: int) -> None:
    generator = tiny_generator()
    weights = {k: v.clone() for k, v in generator.state_dict().items()}
    problem = replace(own_clip(generator, frames, occluder=True), occluder_masks=None)
    tuned = invert("pti", generator, problem, steps=60)
    assert all(torch.equal(v, weights[k]) for k, v in generator.state_dict().items())
    assert {name.split(".")[0] for name in tuned.generator} == {"backbone", "decoder", "superresolution"}
    assert not any(name.startswith("backbone.mapping.") for name in tuned.generator)
    assert set(tuned.info["steps"]) == {"codes", "generator"} and sum(tuned.info["steps"].values()) == 60
    assert not tuned.cameras and not tuned.ood
    assert all(math.isfinite(v) for values in tuned.history.values() for v in values)
    codes = invert("w+", generator, problem, steps=60)
    assert crop_psnr(generator, problem, tuned) > crop_psnr(generator, problem, codes)
    assert crop_psnr(generator, problem, tuned) > crop_psnr(generator, problem, replace(tuned, generator={}))


def test_two_inversions_are_rendered_with_one_generator() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 2)
    plain = invert("w+", generator, problem, steps=5)
    tuned = invert("pti", generator, problem, steps=12)
    rows, at = np.arange(2), (problem.cam2world, problem.intrinsics)
    alone = [InversionRenderer(generator, one).render(rows, *at).image for one in (plain, tuned)]
    both = [InversionRenderer(generator, one) for one in (tuned, plain)]
    assert torch.equal(both[1].render(rows, *at).image, alone[0])
    assert torch.equal(both[0].render(rows, *at).image, alone[1])
    assert not torch.equal(both[0].render(rows, *at, ws=plain.ws).image, alone[0])
    removed = both[0].render(rows, *at, remove_occluder=True)  # there is no second field to be left out
    assert torch.equal(removed.image, alone[1]) and removed.blend is None


def test_superresolution_goes_on_from_where_pti_left_it() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 2)
    tuned = invert("pti", generator, problem, steps=12)
    both = finetune(generator, problem, tuned, settings=tiny("pti").tune, steps=1)
    assert both.generator.keys() == tuned.generator.keys()
    rate = tiny("pti").tune.rate
    for name, tensor in both.generator.items():
        before = tuned.generator[name]
        if name.startswith("superresolution."):
            assert float((tensor - before).abs().max()) <= 1.01 * rate, "one step of Adam away"
        else:
            assert torch.equal(tensor, before)
    assert not torch.equal(
        both.generator["superresolution.block1.torgb.weight"],
        tuned.generator["superresolution.block1.torgb.weight"],
    )


@pytest.mark.parametrize("method", ["pti", "pose-opt", "hfgi3d", "vive3d"])
def test_what_a_mask_hides_has_no_influence(method: str) -> None:
    generator = tiny_generator()
    green = own_clip(generator, 2, occluder=True)
    assert isinstance(green.crops, np.ndarray) and isinstance(green.occluder_masks, np.ndarray)
    black = replace(green, crops=np.where(green.occluder_masks[..., None] > 0, green.crops, np.uint8(0)))
    one, other = (numbers(invert(method, generator, p, steps=8)) for p in (green, black))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("method", "preset"),
    [
        ("pti", "paper"),
        ("pti", "paper-locality"),
        ("pti", "in-n-out-baselines"),
        ("pose-opt", "paper"),
        ("hfgi3d", "paper"),
    ],
)
def test_published_recipes_run(method: str, preset: str) -> None:
    chosen = find_method(method).presets[preset]
    chosen = replace(chosen, codes=replace(chosen.codes, candidates=min(6, chosen.codes.candidates)))
    generator = tiny_generator()
    found = invert(method, generator, own_clip(generator, 2), chosen, steps=5)
    assert sum(found.info["steps"].values()) == 5
    assert ("generator/depth" in found.history) is (method == "pose-opt")
    assert ("generator/locality" in found.history) is (method == "pti" and preset == "paper-locality")
    assert all(math.isfinite(v) for values in found.history.values() for v in values)


def stop_at(k: int):
    """A listener that ends the process's work after k steps in all."""

    def on_step(done: int, *_: object) -> None:
        if done >= k:
            raise KeyboardInterrupt

    return on_step


@pytest.mark.parametrize("method", ["w", "pti", "pose-opt"])
def test_stopped_anywhere_it_gives_the_same_bits(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # one tick a look: a checkpoint after every second step
    monkeypatch.setattr(inverters.fitting.loop, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(inverters.fitting.loop, "CHECKPOINT_SECONDS", 2.0)
    settings = tiny(method)
    if method == "pti":
        settings = replace(settings, tuning=replace(settings.tuning, locality=Locality(30.0, 0.1, 0.1)))
    generator = tiny_generator()
    problem = own_clip(generator, 3)

    def work(**options: object) -> Inversion:
        return invert(method, generator, problem, settings, steps=12, seed=4, **options)

    whole = numbers(work())
    for k in (3, 6, 9, 11):
        with pytest.raises(KeyboardInterrupt):
            work(checkpoint_dir=tmp_path, on_step=stop_at(k))
    steps: list[int] = []
    again = numbers(work(checkpoint_dir=tmp_path, on_step=lambda done, *_: steps.append(done)))
    assert steps and steps[0] > 8 and steps[-1] == 12, "it went on, and did not begin again"
    assert again.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name


def test_it_stops_when_lpips_of_all_frames_is_low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(net: str, device: object) -> tuple[losses.ImageLoss, str]:
        return losses.multiscale_loss, f"lpips-{net}"

    generator = tiny_generator()
    problem = own_clip(generator, 3)
    easy = replace(tiny("pti"), tuning=replace(tiny("pti").tuning, stop=10.0))
    with_stand_in = invert("pti", generator, problem, easy, steps=24)
    assert sum(with_stand_in.info["steps"].values()) == 24, "the stand-in's numbers are not LPIPS's"
    monkeypatch.setattr(losses, "perceptual_loss", measured)
    found = invert("pti", generator, problem, easy, steps=24, checkpoint_dir=tmp_path)
    assert found.info["steps"]["generator"] == 3, "every frame was seen once"
    steps: list[int] = []
    again = invert(
        "pti",
        generator,
        problem,
        easy,
        steps=24,
        checkpoint_dir=tmp_path,
        on_step=lambda done, *_: steps.append(done),
    )
    assert not steps and all(torch.equal(v, again.generator[k]) for k, v in found.generator.items())
