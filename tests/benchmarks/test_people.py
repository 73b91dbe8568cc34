"""Sheets and measurements of true people."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from benchmarks import people, people_expressions
from benchmarks.drawn_people import unseen
from benchmarks.people_expressions import EXPRESSIONS, expressions, lines, true_shapes
from inverters.people.params import index
from pipeline.scoring.blendshapes import NAMES


def test_sheets_are_written(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    people.main(["--people", "3", "--columns", "2", "--size", "32", "--out", str(out)])
    assert Image.open(out).size == (64, 64)


def test_every_sheet_changes_known_parameters() -> None:
    for changes in people.STEPS.values():
        for change in changes:
            for name in change:
                index(name)
    assert {parameter for parameter, _ in EXPRESSIONS.values()} >= {"smile", "mouth_open", "blink", "brows"}


def test_a_reader_that_sees_half_has_half_the_slope(monkeypatch) -> None:
    monkeypatch.setattr(people_expressions, "read", lambda reader, scores: 0.5 * true_shapes(scores[None])[0])
    found = expressions(SimpleNamespace(name="half"), unseen(2, 0))
    smile = found["smile"]["actions"]["mouthSmileLeft"]
    assert smile == {"slope": 0.5, "correlation": 1.0}
    assert any(line.startswith("smile 1: ") and "mouthSmile" in line for line in lines(found))


def test_a_reader_without_faces_gives_no_slopes(monkeypatch) -> None:
    monkeypatch.setattr(people_expressions, "read", lambda reader, scores: np.full(len(NAMES), np.nan))
    found = expressions(SimpleNamespace(name="none"), unseen(1, 0))
    assert found["smile"]["actions"]["mouthSmileLeft"] == {"slope": None, "correlation": None}
