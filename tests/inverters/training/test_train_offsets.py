"""Training of TriPlaneNet's second branch on a tiny generator: it begins at the codes, learns, goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from inverters.encoders.encoder_file import EncoderCard, load_encoder, save_encoder
from inverters.encoders.table import kind_of
from inverters.encoders.triplanenet import TriPlaneNet
from inverters.errors import CheckpointError, FingerprintError
from inverters.generators.eg3d import Generator
from inverters.methods.encoders import PRESETS
from inverters.training.people_pictures import NUM_PARAMETERS
from inverters.training.reading import step_rng
from inverters.training.stored_set import StoredPeople, part_path, write_part
from inverters.training.train_offsets import OffsetTrainer, people_pairs
from tests.inverters.tiny import invert, own_clip, tiny_generator
from tests.inverters.training.conftest import balls, quick_trainer

trainer = partial(quick_trainer, OffsetTrainer, "triplanenet")


def test_a_run_begins_at_the_codes_goes_on_and_is_written(
    generator: Generator, first: Path, tmp_path: Path
) -> None:
    begun = trainer(generator, tmp_path, first)
    begun.prepare()
    with torch.no_grad():
        assert not begun.offsets(begun.pairs(step_rng(0, 0))[0])[1].any()
    assert begun.run() and begun.step == 1
    row = json.loads((tmp_path / "figures.jsonl").read_text().splitlines()[-1])
    assert {"psnr_w", "psnr_refined_side", "source_smooth_l1", "side_smooth_l1"} <= row.keys()
    told = load_encoder(first).network.state_dict()
    assert all(torch.equal(v, told[k]) for k, v in begun.network.psp_encoder.state_dict().items())
    again = trainer(generator, tmp_path, None)
    assert again.step == 1
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, begun.network.state_dict()[name]), name
    again.export(tmp_path / "mine.safetensors")
    problem = own_clip(generator, 1)
    settings = replace(PRESETS["draft"], file=str(tmp_path / "mine.safetensors"))
    assert "plane offsets" in invert("triplanenet", generator, problem, settings).parts
    later = trainer(generator, tmp_path / "later", tmp_path / "mine.safetensors")
    assert later.step == 0 and isinstance(later.network, TriPlaneNet)


def test_both_views_come_nearer(generator: Generator, first: Path, tmp_path: Path) -> None:
    """The losses of one and the same batch, before and after some steps on it."""
    run = trainer(generator, tmp_path, first)
    run.weights = replace(run.weights, rays=500)
    run.prepare()
    values = []
    for _ in range(6):
        terms = run.losses(torch.float32)
        values.append({name: float(value.detach()) for name, value in terms.items()})
        run.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        run.optimiser.step()
    assert set(values[0]) == {"source_smooth_l1", "side_smooth_l1"}
    assert all(values[-1][name] < 0.9 * value for name, value in values[0].items()), values


def test_the_papers_numbers(generator: Generator, first: Path, tmp_path: Path) -> None:
    run = trainer(generator, tmp_path, first, preset="paper", batch=1)
    assert (run.weights.perceptual, run.weights.side, run.weights.rays) == (0.1, 0.1, 0)
    run.prepare()
    names = {"source_smooth_l1", "source_perceptual", "side_smooth_l1", "side_perceptual"}
    assert set(run.losses(torch.float32)) == names


def test_pairs_are_two_views_of_a_person(tmp_path: Path) -> None:
    assert write_part(tmp_path, 1, lambda: balls(3, 5)) and part_path(tmp_path, 1).exists()
    people = StoredPeople(tmp_path, parameters=NUM_PARAMETERS)
    seen, other = people_pairs(people, [2, 0, 1], torch.Generator().manual_seed(1))
    assert torch.equal(seen.codes, other.codes), "scores of the person"
    assert not (seen.cam2world == other.cam2world).flatten(1).all(1).any()


def test_what_it_cannot_begin_at(generator: Generator, first: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="begins at an e4e-mask for its generator; name its file"):
        trainer(generator, tmp_path, None)
    other = tiny_generator()
    other.card = replace(other.card, name="other", fingerprint="f" * 64)
    with pytest.raises(FingerprintError, match=r"was trained for .* but the generator in use is 'other'"):
        trainer(other, tmp_path, first)
    psp = kind_of("psp")
    config, path = psp.small(generator.config), tmp_path / "psp.safetensors"
    save_encoder(path, psp.build(config), EncoderCard("psp", config, generator.card.name, "tiny"))
    with pytest.raises(CheckpointError, match="is an encoder psp; expected e4e-mask or triplanenet"):
        trainer(generator, tmp_path, path)
