"""Training of E3DGE's local branch on a tiny generator: it begins at the codes, learns, goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from inverters.encoders.encoder_file import load_encoder
from inverters.errors import CheckpointError
from inverters.generators.eg3d import Generator
from inverters.training.train_local import LocalTrainer
from inverters.training.train_offsets import between
from tests.inverters.training.conftest import quick_trainer

trainer = partial(quick_trainer, LocalTrainer, "e3dge", samples=8)


def test_a_run_begins_at_the_codes_goes_on_and_is_written(
    generator: Generator, first: Path, tmp_path: Path
) -> None:
    begun = trainer(generator, tmp_path, first)
    begun.prepare()
    begun.network.eval()
    for images in begun.shown(begun.pairs(torch.Generator().manual_seed(0))):
        assert torch.equal(images["psnr_refined"], images["psnr_w"])
        assert torch.equal(images["psnr_unaligned"], images["psnr_w"])
    assert begun.run() and begun.step == 1
    row = json.loads((tmp_path / "figures.jsonl").read_text().splitlines()[-1])
    names = {"psnr_w", "psnr_refined", "psnr_unaligned"}
    assert names | {f"{name}_side" for name in names} <= row.keys()
    told = load_encoder(first).network.state_dict()
    assert all(torch.equal(v, told[k]) for k, v in begun.network.encoder.state_dict().items())
    again = trainer(generator, tmp_path, None)
    assert again.step == 1
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, begun.network.state_dict()[name]), name
    again.export(tmp_path / "mine.safetensors")
    later = trainer(generator, tmp_path / "later", tmp_path / "mine.safetensors")
    assert later.step == 0 and later.network.config == again.network.config


def test_both_views_come_nearer(generator: Generator, first: Path, tmp_path: Path) -> None:
    """The losses of one and the same batch, before and after some steps on it."""
    run = trainer(generator, tmp_path, first, learning_rate=5e-3)
    run.weights = replace(run.weights, rays=300)
    run.prepare()
    values = []
    for _ in range(16):
        terms = run.losses(torch.float32)
        values.append({name: float(value.detach()) for name, value in terms.items()})
        run.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        run.optimiser.step()
    assert set(values[0]) == {"source_l2", "source_residual", "side_l2", "side_residual", "unaligned_l2"}
    assert all(values[-1][name] < 0.9 * value for name, value in values[0].items()), values


def test_the_papers_numbers(generator: Generator, first: Path, tmp_path: Path) -> None:
    run = trainer(generator, tmp_path, first, preset="paper", batch=1, learning_rate=1e-3)
    rates = sorted({group["share"] * 1e-3 for group in run.groups()})
    assert rates == pytest.approx([1e-5, 5e-5, 1e-4])
    assert sum(len(group["params"]) for group in run.groups()) == len(list(run.network.parameters()))
    assert (run.weights.perceptual, run.weights.residual, run.weights.rays) == (0.8, 0.1, 0)
    run.prepare()
    names = {"source_l2", "source_perceptual", "source_residual"}
    names |= {name.replace("source", "side") for name in names}
    assert set(run.losses(torch.float32)) == names


def test_views_come_to_differ_more(generator: Generator, first: Path, tmp_path: Path) -> None:
    run = trainer(generator, tmp_path, first, samples=80)
    run.prepare()
    run.weights = replace(run.weights, curriculum=((0, 0.0), (5, 0.25), (9, 1.0)))
    seen, other = run.pairs(torch.Generator().manual_seed(0))
    assert torch.equal(seen.image, other.image), "the same view at first"
    spread = []
    for step in (5, 9):
        run.step, found = step, []
        for seed in range(12):
            pair = run.pairs(torch.Generator().manual_seed(seed))
            found.append(between(torch.stack([views.cam2world for views in pair], 1)))
        spread.append(float(torch.cat(found).mean()))
    assert spread[0] < 0.7 * spread[1], spread


def test_what_it_cannot_begin_at(generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a run of e3dge begins at an e4e-mask for its generator"):
        trainer(generator, tmp_path, None)
