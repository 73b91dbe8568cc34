"""The fit of codes in spaces beyond W and W+: what moves, what stays on the sphere, what is refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inverters.base import Inversion, InversionProblem
from inverters.encoders.base_code import BaseCodeCard, BaseCodeEncoder, as_input, save_base_code_encoder
from inverters.errors import CheckpointError, FingerprintError, InverterError, UnknownNameError
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting import loop, p_files, space_fit
from inverters.fitting.code_settings import in_space
from inverters.fitting.joint import JointFit
from inverters.fitting.p_space import generator_statistics
from inverters.fitting.space_fit import SpaceFit
from inverters.fitting.spaces import SPACES, LayerCodes, find_space, mapped_rows, moved
from inverters.fitting.targets import Targets
from inverters.generators.eg3d import Generator
from inverters.methods.table import find_method, method_names, settings_of
from tests.inverters.fitting.test_spaces import norms_off
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

BEYOND = [name for name in SPACES if name not in ("w", "w+")]


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p_files, "FEWER", 500)


def fit_of(space: str, steps: int = 30, frames: int = 3, generator: Generator | None = None, **changes: Any):
    generator = generator or tiny_generator()
    settings = dataclasses.replace(in_space(tiny("w+").codes, space), **changes)
    targets = Targets(own_clip(generator, frames), 16, torch.device("cpu"))
    return SpaceFit(generator, targets, settings, steps, 0)


def settings_in(method: str, space: str) -> Any:
    found = tiny(method)
    return dataclasses.replace(found, codes=in_space(found.codes, space))


@pytest.mark.parametrize("space", list(SPACES))
def test_a_fit_in_each_space_comes_nearer_to_the_clip(space: str) -> None:
    generator = tiny_generator()
    found = invert("w+", generator, own_clip(generator, 2), settings_in("w+", space), steps=60)
    colour = found.history["codes/colour"]
    assert np.mean(colour[-10:]) < 0.8 * np.mean(colour[:10])
    assert found.info.get("space", space) == space and found.ws.shape == (2, generator.num_ws, 16)
    kind = find_space(space)
    parts = {"z": kind.bounded, "styles": kind.codes == "s", "features": kind.base}
    assert set(found.latent) == {name for name, there in parts.items() if there}


@pytest.mark.parametrize("space", ["f/z+", "f/s"])
def test_what_was_fitted_is_what_is_rendered(space: str) -> None:
    fit = fit_of(space, 20, base_rate=0.1, rate=0.1)
    for i in range(20):
        fit.step(i)
    generator, clip = fit.generator, own_clip(fit.generator, 3)
    rows, pixels = torch.arange(3), torch.arange(256).expand(3, -1)
    layers = LayerCodes.of(fit.latent(), {})
    inversion = Inversion("w+", "tiny", "tiny", clip.frames, fit.all_ws(), fit.latent())
    seen = InversionRenderer(generator, inversion).render(rows.numpy(), clip.cam2world, clip.intrinsics)
    error = (seen.image_raw - fit.targets.raw(rows)).square().mean()
    with torch.no_grad():
        fit.losses.sampling = generator.sampling()
        terms = fit.losses.colours(19, rows, fit.all_ws(), pixels, None, layers)
        bare = fit.losses.colours(19, rows, fit.all_ws(), pixels, None)
    assert float(terms["colour"]) == pytest.approx(float(error), rel=0.01)
    assert float(bare["colour"]) != pytest.approx(float(error), rel=0.01)


def test_an_edited_clip_is_rendered_with_base_codes_that_stay_or_follow() -> None:
    fit = fit_of("f/z+", 5, base_rate=0.1)
    for i in range(5):
        fit.step(i)
    clip, latent = own_clip(fit.generator, 3), fit.latent()
    inversion = Inversion("w+", "tiny", "tiny", clip.frames, fit.all_ws(), latent)
    rows, edited = np.arange(3), inversion.ws + 0.5
    stays, follows = (InversionRenderer(fit.generator, inversion, follow) for follow in (False, True))
    views = clip.cam2world, clip.intrinsics
    assert torch.equal(stays.render(rows, *views).image, follows.render(rows, *views).image)
    moved_by = LayerCodes(latent["features"]).following(fit.generator, inversion.ws, edited)
    wanted = fit.generator.render(moved_by.planes(fit.generator, edited), *views).features[:, :3]
    seen = follows.render(rows, *views, ws=edited).image_raw
    torch.testing.assert_close(seen, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(stays.render(rows, *views, ws=edited).image_raw, seen, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("space", ["z", "f/z+"])
def test_codes_are_on_the_sphere_after_a_thousand_steps_and_an_edit(space: str) -> None:
    fit = fit_of(space, 1000, generator=tiny_generator(z_dim=512), frames_per_step=3)
    for i in range(1000):
        fit.step(i)
    check_sphere(fit)


@pytest.mark.parametrize("space", ["z", "f/z+"])
def test_codes_are_on_the_sphere_after_every_step_and_edit(space: str) -> None:
    fit = fit_of(space, 12, generator=tiny_generator(z_dim=512), rate=0.5, frames_per_step=3)
    for i in range(12):
        fit.step(i)
        check_sphere(fit)


def check_sphere(fit: SpaceFit) -> None:
    """The clip's code, each frame's, the stored ones, and these edited lie on the sphere."""
    z = fit.latent()["z"]
    assert z.shape == (3, fit.generator.num_ws, 512)
    whole = fit.offset.values[0]
    own = whole + fit.settings.ratio * fit.residual.values  # without the retraction that reads them
    direction = 0.2 * torch.randn(512, generator=torch.Generator().manual_seed(4))
    for codes in (z, whole, own, moved(z, 50 * direction)):
        assert norms_off(codes) < 1e-4
    torch.testing.assert_close(fit.all_ws(), mapped_rows(fit.generator, z))


@pytest.mark.parametrize("space", BEYOND)
def test_the_clip_and_each_frame_have_codes(space: str) -> None:
    fit = fit_of(space, 12, frames_per_step=1)
    tables = {name: table for name, table in fit.tables().items() if name != "pose"}
    before = {name: table.values.clone() for name, table in tables.items()}
    fit.step(0)
    for name, table in tables.items():
        moved_rows = (table.values != before[name]).flatten(1).any(1)
        assert int(moved_rows.sum()) == (0 if "base" in name and not fit.kind.base else 1), name


@pytest.mark.parametrize("space", ["z", "f/w"])
def test_spaces_of_one_code_have_one(space: str) -> None:
    fit = fit_of(space, 5)
    for i in range(5):
        fit.step(i)
    ws = fit.all_ws()
    assert torch.equal(ws, ws[:, :1].expand_as(ws)) and not torch.equal(ws[0], ws[1])


def test_layered_spaces_have_a_code_a_layer() -> None:
    fit = fit_of("z+", 3)
    for i in range(3):
        fit.step(i)
    assert not torch.equal(fit.all_ws()[:, 0], fit.all_ws()[:, 1])


def test_a_base_code_is_held_to_its_start() -> None:
    """By its weight: the heavier, the nearer it stays; at its start the term is zero."""
    far = []
    for weight in (0.0, 1e3):
        fit = fit_of("f/z+", 20, lambda_base=weight, base_rate=0.05)
        first = fit.latent()["features"].clone()
        terms = [fit.step(i) for i in range(20)]
        assert float(terms[0]["base"]) == 0
        far.append(float((fit.latent()["features"] - first).square().mean()))
    assert 0 < far[1] < 0.2 * far[0]


def test_a_base_code_begins_at_what_an_encoder_tells(tmp_path: Path) -> None:
    generator, file = tiny_generator(), tmp_path / "e.safetensors"
    encoder = BaseCodeEncoder((4, 6, 8)).eval().half().float()
    save_base_code_encoder(file, encoder, BaseCodeCard("tiny", "tiny", 8, (4, 6, 8), 0))
    fit = fit_of("f/z+", 4, generator=generator, base_encoder=str(file))
    told = torch.cat([encoder(as_input(fit.targets.image(torch.tensor([row])), 8)) for row in range(3)])
    torch.testing.assert_close(fit.latent()["features"], told)
    assert float(fit.step(0)["base"]) == pytest.approx(0, abs=1e-12)
    with pytest.raises(CheckpointError, match="of block 8, not 4"):
        fit_of("f4/z+", 4, generator=generator, base_encoder=str(file))
    save_base_code_encoder(file, encoder, BaseCodeCard("f" * 64, "other", 8, (4, 6, 8), 0))
    with pytest.raises(FingerprintError, match="for generator 'other'"):
        fit_of("f/z+", 4, generator=generator, base_encoder=str(file))


def test_a_base_code_of_the_clip_alone() -> None:
    fit = fit_of("f/z+", 5, base_frames=False)
    for i in range(5):
        fit.step(i)
    features = fit.latent()["features"]
    assert len(features) == 3 and torch.equal(features[0], features[2])
    assert not torch.equal(features, fit.first_base.expand_as(features))


def test_the_layers_below_a_base_code_count_only_where_the_skip_is_kept() -> None:
    for skip in ("kept", "dropped"):
        fit = fit_of("f8/z+", 4, skip=skip)
        first = fit.all_ws()
        for i in range(4):
            fit.step(i)
        moved_rows = (fit.all_ws() != first).any(2).any(0)
        # Rows 0 to 2 drive the convolutions of b4 and b8, row 3 what follows.
        assert moved_rows[3:].all() and bool(moved_rows[0]) == (skip == "kept")


def test_the_penalty_in_p_keeps_codes_likely() -> None:
    found = []
    for weight in (0.0, 10.0):
        fit = fit_of("p_n+", 40, lambda_p=weight, rate=0.05)
        for i in range(40):
            fit.step(i)
        found.append(float(fit.statistics.penalty(fit.all_ws())))
    assert found[1] < 0.5 * found[0]


def test_the_start_is_a_likely_face() -> None:
    fit = fit_of("z+", 1)
    ws = fit.all_ws()
    assert torch.equal(ws, ws[:1, :1].expand_as(ws))
    random = fit.generator.mapping(torch.randn(100, 16))[:, 0]
    mean = fit.space.w_avg
    assert (ws[0, 0] - mean).norm() < (random - mean).norm(dim=1).min()


# Methods


@pytest.mark.parametrize("method", ["pti", "hfgi3d", "in-n-out"])
def test_later_stages_keep_codes_on_the_sphere(method: str) -> None:
    generator = tiny_generator()
    found = invert(method, generator, own_clip(generator, 2), settings_in(method, "z+"), steps=9)
    assert norms_off(found.latent["z"]) < 1e-4
    torch.testing.assert_close(found.ws, mapped_rows(generator, found.latent["z"]))


def shaken(generator: Generator, clip: InversionProblem, space: str) -> tuple[Inversion, InversionProblem]:
    """An inversion whose base codes or styles are far from any w's, and the clip that it shows."""
    found = invert("w+", generator, clip, settings_in("w+", space), steps=1)
    rng = torch.Generator().manual_seed(6)
    latent = {
        k: v + v.std().clamp_min(0.5) * torch.randn(v.shape, generator=rng) for k, v in found.latent.items()
    }
    found = dataclasses.replace(found, latent=latent)
    rows = np.arange(len(clip.frames))
    image = InversionRenderer(generator, found).render(rows, clip.cam2world, clip.intrinsics).image
    crops = ((image + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return found, dataclasses.replace(clip, crops=crops)


@pytest.mark.parametrize("space", ["f/w+", "s"])
def test_tuned_weights_begin_at_base_codes_and_styles(space: str) -> None:
    generator = tiny_generator()
    start, clip = shaken(generator, own_clip(generator, 2), space)
    found = invert("pti", generator, clip, steps=2, start=start)
    bare = invert("pti", generator, clip, steps=2, start=dataclasses.replace(start, latent={}))
    first, without = (each.history["generator/image"][0] for each in (found, bare))
    assert first < 0.1 * without
    assert all(torch.equal(found.latent[name], start.latent[name]) for name in start.latent)
    assert found.info["space"] == space


def test_the_second_field_is_fitted_about_base_codes_and_styles() -> None:
    generator = tiny_generator()
    start, clip = shaken(generator, own_clip(generator, 2), "f/s")
    layers = LayerCodes.of(start.latent, start.info)
    targets = Targets(clip, 16, torch.device("cpu"))
    fit = JointFit(generator, targets, start.ws, tiny("in-n-out").joint, 4, 0, layer_codes=layers)
    rows = torch.tensor([1, 0])
    torch.testing.assert_close(fit._fixed_planes(rows), layers.at(rows).planes(generator, start.ws[rows]))
    assert not torch.allclose(fit._fixed_planes(rows), generator.planes(start.ws[rows]))


def test_an_interrupted_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    generator, chosen = tiny_generator(), settings_in("w+", "f/z+")
    clip = own_clip(generator, 3)
    whole = invert("w+", generator, clip, chosen, steps=6)

    def stop(done: int, total: int, losses: dict[str, float]) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        invert("w+", generator, clip, chosen, steps=6, checkpoint_dir=tmp_path, on_step=stop)
    again = invert("w+", generator, clip, chosen, steps=6, checkpoint_dir=tmp_path)
    assert torch.equal(again.ws, whole.ws)
    assert all(torch.equal(again.latent[name], whole.latent[name]) for name in ("z", "features"))


def test_a_fit_begins_at_the_codes_of_another_in_the_same_space() -> None:
    generator = tiny_generator()
    clip = own_clip(generator, 2)
    first = invert("w+", generator, clip, settings_in("w+", "z+"), steps=8)
    chosen = settings_in("w+", "z+")
    still = dataclasses.replace(chosen, codes=dataclasses.replace(chosen.codes, rate=0.0))
    found = invert("w+", generator, clip, still, steps=2, start=first)
    torch.testing.assert_close(found.latent["z"], first.latent["z"])
    free = invert("w+", generator, clip, settings_in("w+", "s"), steps=1, start=first)
    assert torch.equal(free.ws, first.ws), "w is fixed beside offsets of styles"


@pytest.mark.parametrize("space", ["z", "z+", "f/z+"])
def test_a_bounded_fit_begins_at_the_z_nearest_to_an_encoders_w(space: str) -> None:
    """Here the encoder told codes that z can reach: two frames of one face each."""
    generator = tiny_generator()
    clip = own_clip(generator, 2)
    told = invert("w", generator, clip, settings_in("w", "z"), steps=12)
    told = dataclasses.replace(told, latent={}, info={}, history={})
    chosen = settings_in("w+", space)
    still = dataclasses.replace(chosen, codes=dataclasses.replace(chosen.codes, rate=0.0, base_rate=0.0))
    found = invert("w+", generator, clip, still, steps=1, start=told)
    radius = math.sqrt(generator.config.z_dim)
    assert torch.allclose(found.latent["z"].norm(dim=-1), torch.tensor(radius), rtol=1e-4)
    w_avg = generator.backbone.mapping.w_avg
    assert (found.ws - told.ws).norm() < 0.1 * (told.ws - w_avg).norm()


# Bad input


def test_what_no_fit_begins_at() -> None:
    generator = tiny_generator()
    clip = own_clip(generator, 2)
    layered = invert("w+", generator, clip, settings_in("w+", "z+"), steps=4)
    with pytest.raises(InverterError, match="codes in Z cannot begin from codes whose layers differ"):
        invert("w+", generator, clip, settings_in("w+", "z"), steps=2, start=layered)
    based = invert("w+", generator, clip, settings_in("w+", "f/z+"), steps=2)
    with pytest.raises(InverterError, match=r"cannot go on with its base codes"):
        invert("w+", generator, clip, settings_in("w+", "f/z+"), steps=2, start=based)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("f24/z+", "no block of resolution 24; it has 4, 8, 16"),
        ("f16/z+", "resolution 16 is the backbone's last"),
    ],
)
def test_a_base_code_needs_a_layer_of_the_backbone(space: str, told: str) -> None:
    with pytest.raises(UnknownNameError, match=told):
        fit_of(space)


def test_base_codes_of_a_long_clip_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_fit, "MOST_BASE", 1000)
    with pytest.raises(
        InverterError, match=r"base codes at block 8 take .* GiB for 3 frames; take a lower block"
    ):
        fit_of("f/z+")


def test_statistics_of_another_generator_are_refused() -> None:
    generator = tiny_generator()
    other = dataclasses.replace(generator_statistics(generator, 100), fingerprint="f" * 64)
    targets = Targets(own_clip(generator, 2), 16, torch.device("cpu"))
    with pytest.raises(FingerprintError, match="statistics of P_N are of generator ffffffffffff"):
        SpaceFit(generator, targets, in_space(tiny("w+").codes, "p_n+"), 4, 0, statistics=other)


def test_a_space_that_a_method_cannot_take() -> None:
    for name in method_names():
        method = find_method(name)
        for space in set(SPACES) - method.spaces:
            with pytest.raises(UnknownNameError, match="cannot fit codes in") as caught:
                settings_of(method, "draft", space=space)
            assert "\n" not in str(caught.value)
        for space in method.spaces:
            assert settings_of(method, "draft", space=space).codes.space == space
    with pytest.raises(
        UnknownNameError, match=r"hfgi3d cannot fit codes in f16/z\+; it takes p_n\+, w, w\+, z, z\+"
    ):
        settings_of(find_method("hfgi3d"), "draft", space="f16/z+")
    with pytest.raises(UnknownNameError, match="unknown latent space 'q'"):
        settings_of(find_method("w+"), "draft", space="q")
    with pytest.raises(InverterError, match=r"preset paper moves codes .* cannot in f/z\+"):
        settings_of(find_method("in-n-out"), "paper", space="f/z+")


@pytest.mark.parametrize("space", ["f/z+", "f4/w+", "f/s"])
def test_the_skip_below_a_base_code_is_a_choice(space: str) -> None:
    method = find_method("w+")
    for skip in ("kept", "dropped"):
        assert settings_of(method, "draft", space=space, base={"skip": skip}).codes.skip == skip
    with pytest.raises(InverterError, match=r"w\+ has codes in z\+, without a base code") as caught:
        settings_of(method, "draft", space="z+", base={"skip": "kept"})
    assert "\n" not in str(caught.value)
