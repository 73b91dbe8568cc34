"""The trainer: losses fall, a stopped run continues bit for bit, a cooling run leaves it as it was."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inverters.errors import CheckpointError, InverterError
from inverters.generators.checkpoint import save_generator
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.training import trainer as trainer_module
from inverters.training.losses import DENSITY_GAIN, as_used, planes_of
from inverters.training.people_pictures import NUM_PARAMETERS, to_z
from inverters.training.pretrain import pretrain_mapping
from inverters.training.reading import Reader
from inverters.training.settings import TrainSettings
from inverters.training.trainer import Trainer
from inverters.training.training_state import MAX_FILE_BYTES, load_state, save_state
from tests.inverters.training.conftest import TINY

SETTINGS = TrainSettings(
    minutes=0.02,
    batch=2,
    rays=48,
    grow_at=2,
    patches_from=3,
    patch=8,
    device="cpu",
    precision="float32",
    pretrain=0,
    people=1,
    processes=1,
    nice=0,
)


def trainer_in(folder: Path, people: Path, **changes: object) -> Trainer:
    """A trainer of the tiny generator."""
    return Trainer(folder, people, replace(SETTINGS, **changes), TINY)  # type: ignore[arg-type]


def steps(trainer: Trainer, count: int) -> list[dict[str, float]]:
    """Train `count` steps at a fixed rate."""
    reader = Reader(trainer.stored, trainer.settings.seed, 2, 2, torch.device("cpu"))
    found = [trainer.learn(reader.at(trainer.step), 3e-3) for _ in range(count)]
    return [{k: v.item() for k, v in losses.items()} for losses in found]


def test_a_stopped_run_continues_bit_for_bit(tmp_path: Path, ball_set: Path) -> None:
    """Across growing (step 2) and the first patches (step 3)."""
    whole = trainer_in(tmp_path / "a", ball_set)
    steps(whole, 5)
    first = trainer_in(tmp_path / "b", ball_set)
    steps(first, 2)
    first.save()
    again = trainer_in(tmp_path / "b", ball_set)
    assert again.step == 2
    steps(again, 3)
    for one, other in ((whole.generator, again.generator), (whole.average, again.average)):
        a, b = one.state_dict(), other.state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_with_a_critic_continues_bit_for_bit(tmp_path: Path, ball_set: Path) -> None:
    on = {"adversarial": 0.1, "grow_at": 0, "patches_from": 0, "patch": 12}
    whole = trainer_in(tmp_path / "a", ball_set, **on)
    losses = steps(whole, 4)
    assert losses[-1]["critic_own"] > 0
    first = trainer_in(tmp_path / "b", ball_set, **on)
    steps(first, 2)
    first.save()
    again = trainer_in(tmp_path / "b", ball_set, **on)
    steps(again, 2)
    assert whole.adversary is not None and again.adversary is not None
    for one, other in ((whole.generator, again.generator), (whole.adversary.critic, again.adversary.critic)):
        a, b = one.state_dict(), other.state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_losses_fall_and_z_beyond_the_parameters_is_ignored(tmp_path: Path, ball_set: Path) -> None:
    trainer = trainer_in(tmp_path, ball_set, grow_at=0, patches_from=0)
    losses = steps(trainer, 300)  # the loss of density falls slowly, and is noisy over fewer
    for name in ("density", "colour", "raw", "image"):
        early, late = (sum(row[name] for row in part) for part in (losses[:30], losses[-30:]))
        assert late < 0.9 * early, name
    z = to_z(torch.randn(1, NUM_PARAMETERS, generator=torch.Generator().manual_seed(0)), TINY.z_dim)
    other = z.clone()
    other[:, NUM_PARAMETERS:] = -other[:, NUM_PARAMETERS:]  # same norm
    assert torch.equal(trainer.generator.mapping(z), trainer.generator.mapping(other))


def test_a_run_writes_its_curve_and_a_cooling_one_leaves_it_alone(tmp_path: Path, ball_set: Path) -> None:
    trainer = trainer_in(tmp_path, ball_set)
    assert trainer.run()
    step = trainer.step
    row = json.loads((tmp_path / "curve.jsonl").read_text())
    assert row["step"] == step > 3 and 0 < row["psnr"] < 60 and row["hours"] > 0
    assert 0 < row["psnr_known"] < 60 and row["psnr_known"] != row["psnr"]
    assert (tmp_path / "pictures" / f"{step:07d}.png").exists()
    cooling = trainer_in(tmp_path, ball_set, cooldown=0.02)
    high = cooling.rate()
    assert cooling.run() and cooling.step > step and cooling.rate() < 0.1 * high
    cooling.export(tmp_path / "cooled.safetensors")
    assert trainer_in(tmp_path, ball_set).step == step
    assert load_generator(tmp_path / "cooled.safetensors").card.parameters[0] == "smile"
    assert not (tmp_path / "cooling").exists()


def test_the_rate_follows_the_step_alone(tmp_path: Path, ball_set: Path) -> None:
    trainer = trainer_in(tmp_path, ball_set, learning_rate=1.0)
    trainer.step = 9000
    assert trainer.rate() == pytest.approx(0.5)


def test_pretraining_explains_the_look_of_unseen_people(tmp_path: Path, ball_set: Path) -> None:
    trainer = trainer_in(tmp_path, ball_set)
    assert pretrain_mapping(trainer.generator, steps=300, batch=128, people=2000) < 0.9
    mapping = trainer.generator.backbone.mapping
    assert not mapping.fc0.weight[:, NUM_PARAMETERS:].any()
    before = copy.deepcopy(mapping.state_dict())
    steps(trainer, 2)
    assert all(torch.equal(value, before[name]) for name, value in mapping.state_dict().items())


def test_baked_density_is_the_scaled_target(tmp_path: Path, ball_set: Path) -> None:
    trainer = trainer_in(tmp_path, ball_set)
    features = torch.randn(1, 7, 8, generator=torch.Generator().manual_seed(0))
    raw, rgb = trainer.generator.decoder(features)
    baked, same = as_used(trainer.generator).decoder(features)
    torch.testing.assert_close(baked, raw * DENSITY_GAIN)
    assert torch.equal(rgb, same)


def test_noise_maps_learn_and_what_is_exported_draws_with_them(tmp_path: Path, ball_set: Path) -> None:
    trainer = trainer_in(tmp_path, ball_set, grow_at=0, patches_from=0)
    before = copy.deepcopy(trainer.generator.state_dict())
    steps(trainer, 3)
    after = trainer.generator.state_dict()
    names = [name for name in after if name.startswith("backbone") and "noise" in name]
    assert len(names) == 10  # of five layers a map and its strength
    assert all(before[n].any() and not torch.equal(before[n], after[n]) for n in names)
    trainer.export(tmp_path / "tiny.safetensors")
    exported = load_generator(tmp_path / "tiny.safetensors")
    assert not any("noise_const" in name for name, _ in exported.named_parameters())  # no method moves them
    scores = torch.randn(2, NUM_PARAMETERS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, ws = planes_of(trainer.average, scores)
        plain = exported.planes(ws, "none")
    torch.testing.assert_close(exported.planes(ws), wanted, atol=0.02, rtol=0.02)  # half precision
    assert (plain - wanted).abs().mean() > 5 * (exported.planes(ws) - wanted).abs().mean()


def test_state_is_written_in_small_files_and_damage_is_named(tmp_path: Path) -> None:
    tensors = {f"t{k}": torch.full((2_000_000,), float(k)) for k in range(4)}
    save_state(tmp_path / "s", tensors, {"step": 7})
    assert all(f.stat().st_size <= MAX_FILE_BYTES + 1000 for f in (tmp_path / "s").iterdir())
    found = load_state(tmp_path / "s")
    assert found is not None and found[1]["step"] == 7
    assert all(torch.equal(found[0][k], tensors[k]) for k in tensors)
    (tmp_path / "s" / "state-01.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="remove it to start anew"):
        load_state(tmp_path / "s")
    assert load_state(tmp_path / "nothing") is None


def test_a_run_begins_from_an_exported_generator(tmp_path: Path, ball_set: Path) -> None:
    trainer = trainer_in(tmp_path / "a", ball_set)
    steps(trainer, 1)
    save_generator(tmp_path / "tiny.safetensors", as_used(trainer.generator), dtype=torch.float32)
    again = trainer_in(tmp_path / "b", ball_set, start=str(tmp_path / "tiny.safetensors"))
    before, after = trainer.generator.state_dict(), again.average.state_dict()
    for name in before:
        torch.testing.assert_close(after[name], before[name])


def test_a_run_begins_with_another_mapping(
    tmp_path: Path, ball_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(generator: Generator, steps: int) -> float:
        assert steps == 7
        with torch.no_grad():
            generator.backbone.mapping.fc0.bias.add_(1.0)
        return 0.25

    monkeypatch.setattr(trainer_module, "remap", moved)
    start = tmp_path / "tiny.safetensors"
    save_generator(start, as_used(trainer_in(tmp_path / "a", ball_set).generator), dtype=torch.float32)
    before = load_generator(start).backbone.mapping.fc0.bias
    run = trainer_in(tmp_path / "b", ball_set, start=str(start), remap=7)
    run.begin()
    for generator in (run.generator, run.average):
        torch.testing.assert_close(generator.backbone.mapping.fc0.bias, before + 1)
    with pytest.raises(InverterError, match=r"--remap 7: .* give --start"):
        TrainSettings(remap=7)


def test_a_run_goes_on_with_the_critic_of_another(tmp_path: Path, ball_set: Path) -> None:
    first = trainer_in(tmp_path / "a", ball_set, adversarial=0.4, seed=1)
    assert first.adversary is not None
    first.adversary.steps = 2
    first.save()
    second = trainer_in(tmp_path / "b", ball_set, adversarial=0.4, critic=str(tmp_path / "a"))
    assert second.adversary is not None
    assert second.step == 0 and second.adversary.steps == first.adversary.steps == 2
    expected = first.adversary.critic.state_dict()
    assert all(
        torch.equal(value, expected[name]) for name, value in second.adversary.critic.state_dict().items()
    )
    plain = trainer_in(tmp_path / "plain", ball_set)
    plain.save()
    for folder in ("plain", "nothing"):
        with pytest.raises(CheckpointError, match=f"no training run with a critic in .*{folder}"):
            trainer_in(tmp_path / "c", ball_set, adversarial=0.4, critic=str(tmp_path / folder))


def test_the_card_counts_the_steps_before_the_run_too(tmp_path: Path, ball_set: Path) -> None:
    first = trainer_in(tmp_path / "a", ball_set)
    steps(first, 2)
    first.export(tmp_path / "first.safetensors")
    second = trainer_in(tmp_path / "b", ball_set, start=str(tmp_path / "first.safetensors"))
    steps(second, 1)
    second.save()
    again = trainer_in(tmp_path / "b", ball_set)
    again.export(tmp_path / "second.safetensors")
    assert load_generator(tmp_path / "second.safetensors").card.reports["training"]["steps"] == 3


def test_whitened_codes_come_back_with_the_state_and_change_nothing(tmp_path: Path, ball_set: Path) -> None:
    trainer = trainer_in(tmp_path, ball_set, grow_at=0)
    scores = torch.randn(2, NUM_PARAMETERS)
    before = planes_of(trainer.average, scores)[0]
    trainer.begin()
    trainer.save()
    again = trainer_in(tmp_path, ball_set, grow_at=0)
    assert again.whitening is not None and trainer.whitening is not None
    assert torch.equal(again.whitening.matrix, trainer.whitening.matrix)
    used = as_used(again.average, again.whitening)
    torch.testing.assert_close(planes_of(used, scores)[0], before, atol=1e-3, rtol=1e-3)
