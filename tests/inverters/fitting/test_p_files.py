"""Statistics of P_N beside a generator: kept whole, used, and refused for another generator."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file

from inverters.errors import CheckpointError, FingerprintError
from inverters.fitting import p_files
from inverters.fitting.p_files import beside, known_statistics, load_statistics, save_statistics
from inverters.fitting.p_space import generator_statistics
from inverters.generators.checkpoint import save_generator
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from tests.inverters.tiny import tiny_generator


@pytest.fixture
def generator(tmp_path: Path) -> Generator:
    """A generator in a file of its own."""
    save_generator(tmp_path / "tiny.safetensors", tiny_generator())
    return load_generator(tmp_path / "tiny.safetensors")


def test_what_was_kept_is_what_was_computed(generator: Generator) -> None:
    path, w = beside(generator.card.path), torch.randn(50, 16)
    whole = generator_statistics(generator, 3000)
    save_statistics(path, whole)
    found = load_statistics(path)
    assert (found.fingerprint, found.samples) == (generator.card.fingerprint, 3000)
    torch.testing.assert_close(found.squared_norms(w), whole.squared_norms(w), rtol=1e-9, atol=0)
    assert [p.name for p in path.parent.glob("*.part")] == []


def test_a_fit_takes_those_that_are_kept(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p_files, "FEWER", 300)
    assert known_statistics(generator).samples == 300
    save_statistics(beside(generator.card.path), generator_statistics(generator, 200))
    assert known_statistics(generator).samples == 200
    assert known_statistics(tiny_generator()).samples == 300, "a generator without a file has none beside it"


def test_those_of_another_generator_are_refused(generator: Generator) -> None:
    other = dataclasses.replace(generator_statistics(generator, 100), fingerprint="f" * 64)
    save_statistics(beside(generator.card.path), other)
    told = "of generator ffffffffffff, but .* is [0-9a-f]{12}; renew them with 'invid calibrate'"
    with pytest.raises(FingerprintError, match=told) as caught:
        known_statistics(generator)
    assert "\n" not in str(caught.value)


def test_damage_is_one_line(generator: Generator) -> None:
    path = beside(generator.card.path)
    save_statistics(path, generator_statistics(generator, 100))
    good = path.read_bytes()
    tensors = load(good)

    def told() -> str:
        with pytest.raises(CheckpointError, match=re.escape(path.name)) as caught:
            known_statistics(generator)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    path.write_bytes(good[: len(good) // 2])
    told()
    path.write_bytes(b"")
    told()
    save_file(tensors, path)
    assert "another kind" in told()
    head = {"invid": f'{{"kind": "statistics of P_N", "fingerprint": "{"a" * 64}", "samples": 9}}'}
    for change, says in (
        ({"covariance": tensors["covariance"][:-1]}, "covariance has [135]"),
        ({"mean": tensors["mean"].float()}, "not float64"),
        ({"covariance": tensors["covariance"] * torch.nan}, "not finite"),
        ({"mean": torch.zeros(0, dtype=torch.float64)}, "no code"),
        ({"mean": torch.zeros(9000, dtype=torch.float64)}, "no code"),
    ):
        save_file(tensors | change, path, head)
        assert says in told()
    save_file({"mean": tensors["mean"]}, path, head)
    told()
    path.unlink()
    path.mkdir()
    told()
