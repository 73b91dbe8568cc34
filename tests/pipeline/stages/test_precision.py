"""The precision of a job: as asked, else measured once for a machine and kept beside the costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inverters.generators import precision
from inverters.generators.load import load_generator
from pipeline.stages.precision import FILE, precision_of


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each measurement, which finds bfloat16 twice as fast."""
    found: list[int] = []

    def measure(generator: object) -> dict[str, float]:
        found.append(1)
        return {"float32": 0.2, "bfloat16": 0.1}

    monkeypatch.setattr(precision, "measure", measure)
    return found


def test_what_is_asked_for_is_not_measured(calls: list[int], tmp_path: Path) -> None:
    assert precision_of(None, "float32", tmp_path) == "float32"
    assert precision_of(None, "bfloat16", tmp_path) == "bfloat16"
    assert not calls and not list(tmp_path.iterdir())


def test_a_measurement_is_kept(calls: list[int], tmp_path: Path) -> None:
    generator = load_generator("bundled")
    assert precision_of(generator, "auto", tmp_path / "cache") == "bfloat16"
    assert precision_of(generator, "auto", tmp_path / "cache") == "bfloat16"
    assert len(calls) == 1
    assert precision_of(generator, "auto") == "bfloat16" and len(calls) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"a": 1}', '{"a": {"float32": "x", "bfloat16": 1}}']
)
def test_a_damaged_file_costs_a_measurement(calls: list[int], tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert precision_of(load_generator("bundled"), "auto", tmp_path) == "bfloat16"
    assert len(calls) == 1
    assert len(json.loads((tmp_path / FILE).read_text())) == 1


def test_other_machines_rows_stay(calls: list[int], tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"other": {"float32": 1.0, "bfloat16": 2.0}}))
    precision_of(load_generator("bundled"), "auto", tmp_path)
    assert set(json.loads((tmp_path / FILE).read_text())) > {"other"}


def test_a_folder_that_cannot_be_written_is_no_error(calls: list[int], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert precision_of(load_generator("bundled"), "auto", tmp_path / "file") == "bfloat16"
