"""The benchmark of latent spaces: its distance of distributions, and rows that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.spaces import frechet, random_direction, with_others
from tests.inverters.tiny import tiny_generator


def test_the_distance_is_that_of_two_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20_000, 3)).astype(np.float32)
    shifted, wider = a + np.float32([3, 0, 4]), 2 * a
    assert frechet(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet(a, shifted) == pytest.approx(25, rel=1e-4)
    assert frechet(a, wider) == pytest.approx(3, rel=0.05)  # tr(I + 4 I - 2 * 2 I)
    few = rng.normal(size=(3, 50)).astype(np.float32)
    assert frechet(few, few[::-1].copy()) == pytest.approx(0, abs=1e-4)
    assert frechet(few, few + 1) == pytest.approx(50, rel=1e-4)


def test_the_same_vector_moves_z_and_w() -> None:
    generator = tiny_generator()
    z, w, other = (random_direction(generator, *which) for which in (("f/z+", 1), ("f/p_n+", 1), ("z", 2)))
    assert (z.codes, w.codes) == ("z", "w")
    assert z.step.tolist() == w.step.tolist() != other.step.tolist()


def test_rows_of_other_spaces_are_kept_where_they_were_measured_alike(tmp_path: Path) -> None:
    out = tmp_path / "spaces.json"
    same = ("fingerprint", "seed", "steps", "rays", "parameter", "base_encoder", "network", "threads")
    alike = dict.fromkeys(same, "a")
    first = {**alike, "people": 3, "rows": [{"space": "z+", "mse": 1}], "real": [], "seconds": 4}
    assert with_others(first, out) == first
    out.write_text(json.dumps(first))
    second = {**first, "rows": [{"space": "f/z+", "mse": 2}, {"space": "z", "mse": 3}]}
    merged = with_others(second, out)
    assert [row["space"] for row in merged["rows"]] == ["z", "z+", "f/z+"] and merged["seconds"] == 8
    again = with_others({**first, "rows": [{"space": "z+", "mse": 9}]}, out)
    assert [row["mse"] for row in again["rows"]] == [9]
    fewer = {**second, "people": 2}
    assert with_others(fewer, out) == fewer
