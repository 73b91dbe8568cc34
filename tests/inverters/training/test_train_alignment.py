"""Training of GOAE's alignment on a tiny generator: it begins at the codes, learns, goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from inverters.encoders.encoder_file import load_encoder
from inverters.encoders.goae_network import GoaeNetwork
from inverters.errors import CheckpointError
from inverters.generators.eg3d import Generator
from inverters.methods.encoders import PRESETS
from inverters.training.reading import step_rng
from inverters.training.train_alignment import AlignmentTrainer, otsu
from tests.inverters.tiny import invert, own_clip
from tests.inverters.training.conftest import quick_trainer

trainer = partial(quick_trainer, AlignmentTrainer, "goae")


def test_a_run_begins_at_the_codes_goes_on_and_is_written(
    generator: Generator, first: Path, tmp_path: Path
) -> None:
    begun = trainer(generator, tmp_path, first)
    begun.prepare()
    with torch.no_grad():
        made = begun.second(begun.pairs(step_rng(0, 0))[0])
    torch.testing.assert_close(made.moved, made.base, atol=1e-4, rtol=1e-4)
    assert begun.run() and begun.step == 1
    row = json.loads((tmp_path / "figures.jsonl").read_text().splitlines()[-1])
    assert {"psnr_w", "psnr_refined_side", "psnr_unmixed_side", "side_smooth_l1"} <= row.keys()
    assert "psnr_unmixed" not in row, "the same as psnr_refined"
    told = load_encoder(first).network.state_dict()
    assert all(torch.equal(v, told[k]) for k, v in begun.network.encoder.state_dict().items())
    again = trainer(generator, tmp_path, None)
    assert again.step == 1
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, begun.network.state_dict()[name]), name
    again.export(tmp_path / "mine.safetensors")
    settings = replace(PRESETS["draft"], file=str(tmp_path / "mine.safetensors"))
    assert "refined features" in invert("goae", generator, own_clip(generator, 1), settings).parts
    later = trainer(generator, tmp_path / "later", tmp_path / "mine.safetensors")
    assert later.step == 0 and isinstance(later.network, GoaeNetwork)


def test_both_views_come_nearer(generator: Generator, first: Path, tmp_path: Path) -> None:
    """The losses of one and the same batch, before and after some steps on it."""
    run = trainer(generator, tmp_path, first)
    run.weights = replace(run.weights, rays=500)
    run.prepare()
    values = []
    for _ in range(8):
        terms = run.losses(torch.float32)
        values.append({name: float(value.detach()) for name, value in terms.items()})
        run.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        run.optimiser.step()
    assert set(values[0]) == {"source_smooth_l1", "side_smooth_l1"}
    assert all(values[-1][name] < 0.9 * value for name, value in values[0].items()), values


def test_the_papers_numbers(generator: Generator, first: Path, tmp_path: Path) -> None:
    run = trainer(generator, tmp_path, first, preset="paper", batch=1)
    weights = (run.weights.perceptual, run.weights.background, run.weights.features, run.weights.side)
    assert weights == (0.8, 5.0, 1e-4, 0.0) and run.weights.squared and not run.weights.rays
    run.prepare()
    losses = run.losses(torch.float32)
    assert set(losses) == {"source_l2", "source_perceptual", "background", "features"}
    assert losses["features"] < 1e-9, "F* begins at F"
    sum(losses.values()).backward()
    assert all(value.grad is None for value in run.network.encoder.parameters())
    assert any(bool(value.grad.any()) for value in run.network.afa.parameters() if value.grad is not None)


def test_the_background_is_held_to_its_mean_depth(generator: Generator, first: Path, tmp_path: Path) -> None:
    run = trainer(generator, tmp_path, first)
    mean, cut = run._backdrop
    assert generator.config.ray_start < cut < mean < generator.config.ray_end
    planes = generator.planes(generator.backbone.mapping.w_avg.expand(1, generator.num_ws, -1))
    depth = run._depth(planes)
    wanted = ((depth - mean)[depth > cut]).square().sum() / depth.numel()
    torch.testing.assert_close(run._background(planes, planes), wanted)


def test_depths_are_cut_between_two_classes() -> None:
    rng = torch.Generator().manual_seed(0)
    for near, far in ((100, 900), (500, 500), (900, 100)):
        values = torch.cat([torch.randn(near, generator=rng) * 0.02 + 2.5, torch.full((far,), 3.1)])
        assert 2.6 < otsu(values[torch.randperm(1000, generator=rng)]) < 3.1


def test_what_it_cannot_begin_at(generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a run of goae begins at an e4e-mask for its generator"):
        trainer(generator, tmp_path, None)
