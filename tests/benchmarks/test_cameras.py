"""The benchmark of cameras runs as README says, on one short clip."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import cameras


def test_cameras_of_a_clip_are_found_to_a_few_degrees(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cameras.json"
    words = ["--clips", "1", "--frames", "3", "--fps", "2.0", "--size", "176", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["cameras", *words])
    cameras.main()
    found = json.loads(out.read_text())
    assert found["frames_found"] == 1
    assert found["rotation_error_deg"]["median"] < 5
