"""The trainer: batches are a function of (seed, step), losses fall, a stopped run continues bit for bit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from inverters.errors import CheckpointError
from inverters.generators.checkpoint import save_generator
from inverters.generators.config import GeneratorConfig
from inverters.heads.params import to_z
from inverters.training.generator_losses import DENSITY_GAIN, density_scaled
from inverters.training.sharpen import image_losses, window_features
from inverters.training.supervision import DISTANCE_SCALE, HeadBatches, PointSettings
from inverters.training.trainer import Trainer, TrainSettings
from inverters.training.training_state import MAX_FILE_BYTES, load_state, save_state

TINY = GeneratorConfig(
    z_dim=64,
    w_dim=32,
    c_dim=0,
    mapping_features=32,
    channel_base=256,
    channel_max=16,
    plane_resolution=16,
    plane_channels=8,
    plane_axes="fixed",
    img_resolution=64,
    neural_rendering_resolution=16,
    feature_channels=8,
    decoder_hidden=16,
    superresolution="small4x",
    sr_channels=(8, 8),
)
SETTINGS = TrainSettings(
    heads=2,
    workers=0,
    grow_at=2,
    patches_from=3,
    patches=1,
    patch=8,
    pictures=3,
    device="cpu",
    cooldown=0.0,
    pretrain=0,
)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rays: the behaviour is the same, the time is not."""
    few = partial(PointSettings, rays=32, free=16)
    monkeypatch.setattr("inverters.training.trainer.PointSettings", few)


def steps(trainer: Trainer, count: int) -> list[dict[str, float]]:
    """Train `count` steps at a fixed rate."""
    losses = []
    for _ in range(count):
        batch = next(trainer.batches())
        losses.append(trainer.learn(batch, 3e-3))
    return losses


def test_batches_depend_on_seed_and_step_alone() -> None:
    sizes = PointSettings(heads=1, rays=16, free=8)
    late, whole = HeadBatches(sizes, 3, 5, 9)[1], HeadBatches(sizes, 3, 0, 9)[6]
    assert all(torch.equal(late[k], whole[k]) for k in whole)
    assert not torch.equal(HeadBatches(sizes, 4, 0, 9)[6]["scores"], whole["scores"])


def test_targets_are_solid_inside_and_empty_outside() -> None:
    batch = HeadBatches(PointSettings(heads=2, rays=64, free=64), 0, 0, 1)[0]
    assert batch["target"].min() == -1 and batch["target"].max() == 1
    assert (batch["colour"] >= 0).all() and (batch["colour"] <= 1).all()
    at_surface = batch["target"][:, :64].abs()  # within a few spreads of the visible surface
    assert at_surface.median() * DISTANCE_SCALE < 0.01


def test_stopped_run_continues_bit_for_bit(tmp_path: Path) -> None:
    """Across growing (step 2) and the first patches (step 3)."""
    whole = Trainer(tmp_path / "a", SETTINGS, TINY)
    steps(whole, 5)
    first = Trainer(tmp_path / "b", SETTINGS, TINY)
    steps(first, 2)
    first.save()
    again = Trainer(tmp_path / "b", SETTINGS, TINY)
    assert again.step == 2
    steps(again, 3)
    for one, other in ((whole.generator, again.generator), (whole.average, again.average)):
        a, b = one.state_dict(), other.state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_losses_fall_and_z_beyond_the_parameters_is_ignored(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SETTINGS, TINY)
    trainer.settings = replace(SETTINGS, patches_from=10**6, grow_at=0)
    batch = next(trainer.batches())
    losses = [trainer.learn(batch, 3e-3) for _ in range(40)]
    for name in ("density", "colour"):
        assert losses[-1][name] < 0.8 * losses[0][name]
    z = to_z(torch.randn(1, 41, generator=torch.Generator().manual_seed(0)), 64)
    other = z.clone()
    other[:, 41:] = -other[:, 41:]  # same norm
    assert torch.equal(trainer.generator.mapping(z), trainer.generator.mapping(other))


def test_sharpening_moves_super_resolution_alone_and_towards_the_truth(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, replace(SETTINGS, pictures=4), TINY)
    steps(trainer, 4)
    before = {k: v.clone() for k, v in trainer.average.state_dict().items()}
    pictures = trainer.stored_pictures()

    def error() -> float:
        generator = density_scaled(trainer.average)
        features, w = window_features(generator, pictures, 0)
        image = generator.superresolution.patch(features[None].float(), w[None, None], 16)
        return float(sum(image_losses(image, pictures["image"][:1].float() / 127.5 - 1).values()))

    at_start = error()
    trainer.sharpen(steps=120)
    after = trainer.average.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved and all(name.startswith("superresolution.") for name in moved)
    assert error() < 0.9 * at_start
    for name in moved:
        assert torch.equal(trainer.generator.state_dict()[name], after[name])


def test_baked_density_is_the_scaled_target(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SETTINGS, TINY)
    features = torch.randn(1, 7, 8, generator=torch.Generator().manual_seed(0))
    raw, rgb = trainer.generator.decoder(features)
    baked, same = density_scaled(trainer.generator).decoder(features)
    torch.testing.assert_close(baked, raw * DENSITY_GAIN)
    assert torch.equal(rgb, same)


def test_state_is_written_in_small_files_and_damage_is_named(tmp_path: Path) -> None:
    tensors = {f"t{k}": torch.full((2_000_000,), float(k)) for k in range(4)}
    save_state(tmp_path / "s", tensors, {"step": 7})
    assert all(f.stat().st_size <= MAX_FILE_BYTES + 1000 for f in (tmp_path / "s").iterdir())
    found = load_state(tmp_path / "s")
    assert (
        found is not None
        and found[1]["step"] == 7
        and all(torch.equal(found[0][k], tensors[k]) for k in tensors)
    )
    (tmp_path / "s" / "state-01.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="remove it to start anew"):
        load_state(tmp_path / "s")
    assert load_state(tmp_path / "nothing") is None


def test_a_run_begins_from_an_exported_generator(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "a", SETTINGS, TINY)
    steps(trainer, 1)
    save_generator(tmp_path / "tiny.safetensors", density_scaled(trainer.generator), dtype=torch.float32)
    again = Trainer(tmp_path / "b", replace(SETTINGS, start=str(tmp_path / "tiny.safetensors")), TINY)
    before, after = trainer.generator.state_dict(), again.average.state_dict()
    for name in before:
        torch.testing.assert_close(after[name], before[name])
