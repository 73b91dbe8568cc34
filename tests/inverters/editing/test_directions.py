"""Directions: found against a mapping whose truth is known, and files that belong to one generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inverters.editing.directions import fit_directions, load_directions, save_directions
from inverters.errors import CheckpointError, FingerprintError
from tests.inverters.tiny import tiny_generator

NAMES = ("smile", "age", "hair")


def to_z(scores: torch.Tensor) -> torch.Tensor:
    return torch.cat([scores, scores.new_ones(len(scores), 16 - scores.shape[1])], 1)


def test_moving_along_a_direction_is_moving_its_parameter() -> None:
    generator = tiny_generator()
    found = fit_directions(generator, NAMES, to_z, n=128, generator_rng=torch.Generator().manual_seed(1))
    assert set(found) == set(NAMES)
    scores = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    for k, name in enumerate(NAMES):
        raised = scores.clone()
        raised[:, k] += 1
        with torch.no_grad():
            true = generator.mapping(to_z(raised))[:, 0] - generator.mapping(to_z(scores))[:, 0]
        assert torch.cosine_similarity(true.mean(0), found[name], dim=0) > 0.95
        others = [torch.cosine_similarity(true.mean(0), found[o], dim=0) for o in NAMES if o != name]
        assert max(others) < 0.9


def test_a_linear_mapping_gives_its_columns_exactly() -> None:
    class Linear:
        matrix = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
        backbone = tiny_generator().backbone
        config = tiny_generator().config

        def mapping(self, z: torch.Tensor) -> torch.Tensor:
            return (z @ self.matrix)[:, None]

    found = fit_directions(Linear(), NAMES, to_z, n=16)
    for k, name in enumerate(NAMES):
        assert torch.allclose(found[name], Linear.matrix[k], atol=1e-4)


def test_round_trip_and_fingerprint(tmp_path: Path) -> None:
    generator = tiny_generator()
    directions = {"smile": torch.randn(16), "age": torch.randn(8, 16)[: generator.num_ws]}
    path = tmp_path / "directions.safetensors"
    save_directions(path, directions, generator.card.fingerprint)
    found = load_directions(path, generator, allow_unmarked=False)
    assert all(torch.equal(found[k], v) for k, v in directions.items())
    save_directions(path, directions, "0123456789abcdef")
    with pytest.raises(FingerprintError, match=r"0123456789ab.*tiny"):
        load_directions(path, generator)


@pytest.mark.parametrize("shape", [(16,), (1, 16), (6, 16), (1, 6, 16)])
def test_arrays_of_other_projects_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    generator = tiny_generator()
    assert generator.num_ws == 6
    values = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "smile.npy", np.asfortranarray(values))
    np.savez(tmp_path / "many.npz", age=values)
    one = load_directions(tmp_path / "smile.npy", generator)["smile"]
    many = load_directions(tmp_path / "many.npz", generator)["age"]
    assert torch.equal(one, many)
    assert np.allclose(one.numpy(), values.reshape(one.shape), atol=1e-6)
    with pytest.raises(FingerprintError, match="does not say"):
        load_directions(tmp_path / "smile.npy", generator, allow_unmarked=False)


def test_what_is_not_a_direction_is_refused(tmp_path: Path) -> None:
    generator = tiny_generator()
    np.save(tmp_path / "stylegan2.npy", np.zeros((18, 16)))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.save(tmp_path / "whole.npy", np.zeros(16, np.int64))
    torch.save(torch.zeros(16), tmp_path / "torch.npy")
    (tmp_path / "text.safetensors").write_text("not tensors")
    (tmp_path / "code.pkl").write_bytes(b"cos\nsystem\n.")
    for name, told in {
        "stylegan2.npy": "18 rows",
        "objects.npy": "plain numpy array",
        "whole.npy": "int64",
        "torch.npy": "plain numpy array",
        "text.safetensors": "cannot be read",
        "code.pkl": "needed",
        "missing.npy": "no file",
    }.items():
        with pytest.raises(CheckpointError, match=told):
            load_directions(tmp_path / name, generator)
