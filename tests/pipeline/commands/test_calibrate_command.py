"""`invid calibrate` keeps the statistics of P_N beside the generator, of the weights as they were written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inverters.fitting import p_space
from inverters.fitting.p_files import beside, known_statistics, save_statistics
from inverters.generators.checkpoint import save_generator
from inverters.generators.load import load_generator
from pipeline.commands import __main__ as cli
from tests.inverters.tiny import tiny_generator


@dataclass(frozen=True)
class Landmarks:
    """What the landmarks of rendered faces would be: a tiny generator draws none."""

    faces: int = 3
    asked: int = 3
    residual: float = 0.001
    ibug: Any = None

    def as_card(self) -> dict[str, Any]:
        return {"68": np.zeros((68, 3), np.float32)}

    def report(self) -> dict[str, int]:
        return {"faces": self.faces}


def test_statistics_are_renewed_with_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = tmp_path / "g.safetensors", p_space.generator_statistics
    save_generator(path, tiny_generator())
    old = replace(whole(load_generator(path), 50), fingerprint="f" * 64)
    save_statistics(beside(path), old)
    monkeypatch.setattr("pipeline.faces.calibrate.landmarks3d", lambda *_, **__: Landmarks())
    monkeypatch.setattr("pipeline.faces.calibrate.crop_rule_for", lambda _, rule: rule)
    monkeypatch.setattr(p_space, "generator_statistics", lambda generator: whole(generator, 300))
    assert cli.main(["calibrate", str(path)]) == 0
    assert "P_N of 300 codes" in capsys.readouterr().out
    generator = load_generator(path)
    assert known_statistics(generator).samples == 300
    assert known_statistics(generator).fingerprint == generator.card.fingerprint
    other = tmp_path / "other.safetensors"
    assert cli.main(["calibrate", str(path), "--out", str(other)]) == 0
    assert known_statistics(load_generator(other)).samples == 300
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("g.json", "g.p_n.safetensors", "g.safetensors"),
        *("other.json", "other.p_n.safetensors", "other.safetensors"),
    ]
