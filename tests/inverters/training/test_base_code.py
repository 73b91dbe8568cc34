"""The base-code encoder's training: it learns, goes on to the same bits, and is for one generator."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load, save_file

from inverters.encoders.base_code import as_input, encoder_for, read_base_code_encoder
from inverters.errors import CheckpointError, FingerprintError, InverterError, UnknownNameError
from inverters.fitting.spaces import LayerCodes
from inverters.training.base_code import (
    PRESETS,
    BaseCodeSettings,
    BaseCodeTrainer,
    settings_for,
    train_base_code,
)
from inverters.training.encoder_settings import EncoderSettings
from inverters.training.generator_samples import make_samples
from inverters.training.reading import step_rng
from inverters.training.stored_set import zoomed_intrinsics
from tests.inverters.tiny import tiny_generator

SHORT = BaseCodeSettings(steps=6, batch=4, samples=(8, 8), device="cpu", widths=(4, 6, 8))


def test_the_numbers_are_the_published_ones() -> None:
    found = settings_for(EncoderSettings(preset="paper"))
    assert (found.upper, found.pictures, found.side) == ("own", 0, 0)
    assert (found.steps, found.batch, found.learning_rate, found.drop_every) == (10_000, 16, 1e-3, 2000)
    assert (found.lambda_image, found.lambda_perceptual) == (1.0, 10.0)


def test_a_call_of_the_command_says_some_of_the_numbers() -> None:
    call = EncoderSettings(minutes=3, seed=4, batch=5, samples=6, device="cpu", precision="float32")
    found = settings_for(call)
    assert (found.minutes, found.seed, found.batch, found.pictures) == (3, 4, 5, 6)
    assert found.steps == PRESETS["own"].steps and found.upper == "mean"
    assert settings_for(dataclasses.replace(call, preset="paper")).pictures == 0
    assert settings_for(dataclasses.replace(call, batch=0)).batch == PRESETS["own"].batch


def test_an_encoder_learns_to_give_pictures_back(tmp_path: Path) -> None:
    """On the same unseen pictures: better than before, and than the mean of the layer's features."""
    trainer = BaseCodeTrainer(tiny_generator(), tmp_path, dataclasses.replace(SHORT, steps=120))
    truth, ws, cameras = (
        BaseCodeTrainer(trainer.generator, tmp_path, dataclasses.replace(SHORT, batch=24))
    )._samples(step_rng(0, 9999))

    @torch.no_grad()
    def error(features: torch.Tensor) -> float:
        found = trainer._picture(LayerCodes(features, skip="kept"), ws, cameras)
        return float((found - truth).square().mean())

    before = error(trainer.encoder.eval()(as_input(truth, 8)))
    assert trainer.run()
    mean = trainer.generator.features_at(ws, 8)[0].mean(0, keepdim=True).expand(24, -1, -1, -1)
    after = error(trainer.encoder.eval()(as_input(truth, 8)))
    assert after < 0.8 * before and after < error(mean), (before, after, error(mean))


def test_base_codes_below_the_mean_code_are_learned_from_pictures_drawn_once(tmp_path: Path) -> None:
    """On held out pictures with the mean's upper layers: better than the mean code's own base code."""
    generator = tiny_generator()
    settings = dataclasses.replace(SHORT, steps=60, upper="mean", pictures=24, side=16, lambda_perceptual=0.2)
    trainer = BaseCodeTrainer(generator, tmp_path, settings)
    assert trainer.run() and len(trainer.drawn) == 12
    views = trainer.drawn.rows(torch.arange(2), torch.zeros(2, dtype=torch.long))
    mean = generator.backbone.mapping.w_avg.expand(2, generator.num_ws, -1)
    cameras = views.cam2world, zoomed_intrinsics(views.zoom)
    truth = F.interpolate(views.image, size=(16, 16), mode="area")

    @torch.no_grad()
    def error(features: torch.Tensor) -> float:
        return float((trainer._picture(LayerCodes(features), mean, cameras) - truth).square().mean())

    told = error(trainer.encoder.eval()(as_input(views.image, 8)))
    assert told < 0.8 * error(generator.features_at(mean, 8)[0]), told
    before = (tmp_path / "samples" / "samples.safetensors").read_bytes()
    make_samples(tmp_path / "samples", generator, 24)
    assert (tmp_path / "samples" / "samples.safetensors").read_bytes() == before


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    generator = tiny_generator()
    whole = BaseCodeTrainer(generator, tmp_path / "whole", SHORT)
    assert whole.run()
    stopped = dataclasses.replace(SHORT, minutes=0.0)
    for done in range(1, 6):
        part = BaseCodeTrainer(generator, tmp_path / "parts", stopped)
        assert not part.run() and part.step == done
    last = BaseCodeTrainer(generator, tmp_path / "parts", SHORT)
    assert last.run()
    assert all(torch.equal(v, whole.encoder.state_dict()[k]) for k, v in last.encoder.state_dict().items())


def test_the_learning_rate_falls_by_steps(tmp_path: Path) -> None:
    trainer = BaseCodeTrainer(tiny_generator(), tmp_path, dataclasses.replace(SHORT, drop_every=2))
    rates: list[float] = []
    trainer.run(lambda *_: rates.append(trainer.optimiser.param_groups[0]["lr"]))
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_a_file_is_for_one_generator(tmp_path: Path) -> None:
    generator, out = tiny_generator(), tmp_path / "e.safetensors"
    card = train_base_code(generator, tmp_path, out, SHORT)
    encoder, found = read_base_code_encoder(out)
    assert found == card and (found.block, found.steps, found.fingerprint) == (8, 6, "tiny")
    image = torch.randn(2, 3, 32, 32)
    assert encoder(as_input(image, 8)).shape == (2, 8, 8, 8) and not encoder.training
    found.check_generator("tiny")
    with pytest.raises(FingerprintError, match=r"for generator 'untrained' \(tiny\), but .* ffffffffffff"):
        found.check_generator("f" * 64)
    with pytest.raises(CheckpointError, match=r"of block 8, not 4; give --space f8/\.\.\."):
        encoder_for(generator, out, 4)
    assert torch.equal(encoder_for(generator, out, 8)(as_input(image, 8)), encoder(as_input(image, 8)))
    part = train_base_code(generator, tmp_path / "b", out, dataclasses.replace(SHORT, minutes=1e-9))
    assert part is not None and part.steps == 1
    written = dataclasses.replace(SHORT, minutes=0.0)
    assert train_base_code(generator, tmp_path / "b", out, written) == part, "nothing is trained"
    with safe_open(out, framework="pt") as file:
        assert file.get_tensor("model.0.weight").dtype == torch.float16


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    generator, out = tiny_generator(), tmp_path / "e.safetensors"
    train_base_code(generator, tmp_path, out, dataclasses.replace(SHORT, steps=1))
    other = tiny_generator(plane_resolution=32)
    other.card = dataclasses.replace(other.card, fingerprint="0" * 64)
    with pytest.raises(CheckpointError, match=r"another base-code encoder \(generator tiny, block 8\)"):
        BaseCodeTrainer(other, tmp_path, dataclasses.replace(SHORT, block=8))
    with pytest.raises(UnknownNameError, match="no block of resolution 24"):
        BaseCodeTrainer(generator, tmp_path / "c", dataclasses.replace(SHORT, block=24))
    with pytest.raises(InverterError, match=r"8 channels; widths \(4, 6, 9\) do not end in them"):
        BaseCodeTrainer(generator, tmp_path / "c", dataclasses.replace(SHORT, widths=(4, 6, 9)))
    with pytest.raises(InverterError, match="batch goes from 2 to 10000, not 1"):
        dataclasses.replace(SHORT, batch=1)
    data = out.read_bytes()
    for damaged in (b"", data[: len(data) // 2]):
        out.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cannot be read as an encoder"):
            read_base_code_encoder(out)
    head = '{"kind": "base-code encoder", "fingerprint": "a", "generator": "b", "block": 8, "steps": 1, %s}'
    for widths, told in (('"widths": [4, 6]', "not three"), ('"widths": [4, 6, 9999999]', "size 9999999")):
        save_file(load(data), out, {"invid": head % widths})
        with pytest.raises(CheckpointError, match=told):
            read_base_code_encoder(out)
    save_file(load(data), out, {"invid": head % '"widths": [4, 6, 9]'})
    with pytest.raises(CheckpointError, match="expected"):
        read_base_code_encoder(out)


def test_a_fresh_run_begins_at_the_encoder_of_another_generator(tmp_path: Path) -> None:
    old = BaseCodeTrainer(tiny_generator(), tmp_path / "old", SHORT)
    old.export(tmp_path / "old.safetensors")
    seeded = dataclasses.replace(SHORT, seed=3)
    other = tiny_generator()
    other.card = dataclasses.replace(other.card, fingerprint="other")
    new = BaseCodeTrainer(other, tmp_path / "new", seeded, tmp_path / "old.safetensors")
    assert new.step == 0 and new.card.fingerprint != old.card.fingerprint
    expected = old.encoder.state_dict()
    for name, tensor in new.encoder.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-3, rtol=1e-3)  # half precision
    narrow = dataclasses.replace(SHORT, widths=(2, 4, 8))
    with pytest.raises(CheckpointError, match=r"is of block 8 and widths \(4, 6, 8\), the run of"):
        BaseCodeTrainer(tiny_generator(), tmp_path / "narrow", narrow, tmp_path / "old.safetensors")
